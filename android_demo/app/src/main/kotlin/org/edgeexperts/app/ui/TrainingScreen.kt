package org.edgeexperts.app.ui

import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.Switch
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.widget.FactRow
import org.edgeexperts.app.widget.LossChart
import org.edgeexperts.core.Doing
import org.edgeexperts.core.Fill
import org.edgeexperts.core.HeldExperts
import org.edgeexperts.core.LossPoint
import org.edgeexperts.wire.Manifest
import kotlin.math.roundToInt

private const val PERCENT = 100

/**
 * What training does, why it waits, and what it costs.
 *
 * @param actions what the buttons lead to.
 */
class TrainingScreen(parent: ViewGroup, private val actions: Actions) : Screen {
    /** What a user can do here. */
    interface Actions {
        fun start()

        fun stop()

        fun background(on: Boolean)
    }

    override val view: View = LayoutInflater.from(parent.context).inflate(R.layout.screen_training, parent, false)
    private val context = parent.context
    private val phase = view.findViewById<TextView>(R.id.phase)
    private val phaseText = view.findViewById<TextView>(R.id.phase_text)
    private val progress = view.findViewById<ProgressBar>(R.id.progress)
    private val start = view.findViewById<Button>(R.id.start)
    private val background = view.findViewById<Switch>(R.id.background)
    private val chart = view.findViewById<LossChart>(R.id.loss)
    private val experts = view.findViewById<LinearLayout>(R.id.experts)
    private val rows = Rows(experts, ::row)

    init {
        background.isSaveEnabled = false // the settings keep it
    }

    override fun show(state: AppState) {
        val told = trainingPhase(state)
        phase.setText(told.title)
        phaseText.text = told.text.joinToString("\n") { context.getString(it) }
        showProgress(state)
        start.isEnabled = told.canStart || told.canStop
        start.setText(if (told.canStop) R.string.training_stop else R.string.training_start)
        start.setOnClickListener { if (told.canStop) actions.stop() else actions.start() }
        background.setOnCheckedChangeListener(null)
        background.isChecked = state.settings.background
        background.setOnCheckedChangeListener { _, on -> actions.background(on) }
        showLoss(state.device.losses)
        showFacts(state)
        showExperts(state.device.experts)
    }

    private fun showProgress(state: AppState) {
        val device = state.device
        val counted = device.steps > 0 && device.doing in setOf(Doing.TRAINING, Doing.PAUSED)
        progress.visible(counted)
        if (!counted) return
        progress.max = device.steps
        progress.progress = device.step
        val steps = context.getString(R.string.training_running_text, device.step, device.steps)
        phaseText.text = listOf(steps, phaseText.text).filter { it.isNotEmpty() }.joinToString("\n")
    }

    private fun showLoss(points: List<LossPoint>) {
        chart.visible(points.isNotEmpty())
        chart.points = points
        view.findViewById<TextView>(R.id.loss_text).text = if (points.isEmpty()) context.getString(R.string.loss_none)
        else context.getString(
            R.string.loss_fell, number(context, points.first().loss, 2), number(context, points.last().loss, 2), points.last().step,
        )
    }

    private fun showFacts(state: AppState) {
        val device = state.device
        fact(R.id.fact_step, millis(context, device.stepMs))
        val mib = device.peakMemoryMib
        fact(
            R.id.fact_memory,
            if (mib > 0) context.getString(R.string.unit_mib, number(context, mib)) else context.getString(R.string.unknown),
        )
        fact(R.id.fact_examples, number(context, device.examples.toDouble()))
        fact(R.id.fact_tier, state.model?.manifest?.let { tierOf(it, device.tier) } ?: context.getString(R.string.unknown))
        fact(R.id.fact_fill, filled(device.fill))
        val version = if (device.personal) R.string.version_own else R.string.version_plain
        fact(R.id.fact_version, context.getString(version, device.version))
    }

    /** Says how large a tier is, and where it does not train all layers how deep; null when the package has none of that name. */
    private fun tierOf(manifest: Manifest, name: String): String? {
        val tier = manifest.tiers.find { it.method.substringAfter('_') == name } ?: return null
        val size = tier.run { context.getString(R.string.fact_tier_value, batchSize, rows, seqLen, heldSlots) }
        val adapted = manifest.architecture.adaptedLayers.size
        return if (tier.layers == adapted.toLong()) size else context.getString(R.string.fact_tier_depth, size, tier.layers, adapted)
    }

    private fun filled(fill: Fill) =
        if (fill.steps == 0) context.getString(R.string.unknown)
        else context.getString(
            R.string.fact_fill_value, number(context, fill.textsPerStep, 1),
            context.getString(R.string.percent, (fill.share * PERCENT).roundToInt()),
        )

    private fun fact(id: Int, value: String) {
        view.findViewById<FactRow>(id).value = value
    }

    private fun showExperts(held: List<HeldExperts>) {
        view.findViewById<View>(R.id.experts_none).visible(held.isEmpty())
        experts.visible(held.isNotEmpty())
        rows.show(held)
    }

    private fun row(layer: HeldExperts): View {
        val row = FactRow(context)
        row.name = context.getString(R.string.experts_layer, layer.layer)
        row.value = listOf(R.string.experts_trained to layer.trained, R.string.experts_frozen to layer.frozen)
            .filter { (_, list) -> list.isNotEmpty() }
            .joinToString("; ") { (words, list) -> context.getString(words, list.joinToString(", ")) }
        return row
    }
}
