package org.edgeexperts.app.ui

import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.Switch
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Settings
import org.edgeexperts.app.widget.FactRow
import org.edgeexperts.core.Heat
import org.edgeexperts.core.LabelPrior

/**
 * When to train, what it may cost, and how texts are read.
 *
 * @param actions what is done here.
 */
class SettingsScreen(parent: ViewGroup, pick: Pickers, private val actions: Actions) : Screen {
    /** What a user can do here. */
    interface Actions {
        fun set(settings: Settings)

        /** Asks for one of [options]; [chosen] gets its place. */
        fun ask(title: Int, options: List<String>, selected: Int, chosen: (Int) -> Unit)

        fun forget()

        fun erase()
    }

    override val view: View = LayoutInflater.from(parent.context).inflate(R.layout.screen_settings, parent, false)
    private val context = parent.context
    private var settings = Settings()
    private val numbers = listOf(
        Choice(R.id.battery, R.string.settings_battery, listOf(20, 30, 50, 80), { "$it %" }, { it.batteryPercent }) { s, v ->
            s.copy(batteryPercent = v)
        },
        Choice(R.id.heat, R.string.settings_heat, (1..HEATS.size).toList(), { context.getString(HEATS[it - 1]) }, {
            it.heatBelow.ordinal
        }) { s, v -> s.copy(heatBelow = Heat.values()[v]) },
        Choice(R.id.seconds, R.string.settings_seconds, listOf(2, 5, 10, 30, 0), ::minutes, { it.roundMinutes }) { s, v ->
            s.copy(roundMinutes = v)
        },
        Choice(R.id.up, R.string.settings_up, listOf(1, 2, 5, 20, 0), ::megabytes, { it.upMb }) { s, v -> s.copy(upMb = v) },
        Choice(R.id.down, R.string.settings_down, listOf(5, 20, 50, 200, 0), ::megabytes, { it.downMb }) { s, v ->
            s.copy(downMb = v)
        },
        Choice(R.id.memory, R.string.settings_memory, listOf(150, 250, 500, 1000, 0), ::mebibytes, { it.memoryMib }) { s, v ->
            s.copy(memoryMib = v)
        },
        Choice(R.id.prior, R.string.settings_prior, PRIORS.indices.toList(), { context.getString(PRIORS[it]) }, {
            it.labelPrior.ordinal
        }) { s, v -> s.copy(labelPrior = LabelPrior.values()[v]) },
    )

    /** A setting with a few values to choose from. */
    private class Choice(
        val row: Int,
        val title: Int,
        val values: List<Int>,
        val words: (Int) -> String,
        val get: (Settings) -> Int,
        val set: (Settings, Int) -> Settings,
    )

    init {
        for (choice in numbers) {
            view.findViewById<View>(choice.row).setOnClickListener {
                val at = choice.values.indexOf(choice.get(settings))
                actions.ask(choice.title, choice.values.map(choice.words), at) { place ->
                    actions.set(choice.set(settings, choice.values[place]))
                }
            }
        }
        for ((id, change) in TOGGLES) {
            view.findViewById<Switch>(id).apply {
                isSaveEnabled = false // the settings keep it
                setOnClickListener { actions.set(change(settings, isChecked)) }
            }
        }
        view.findViewById<Button>(R.id.replace_zip).setOnClickListener { pick.pickZip() }
        view.findViewById<Button>(R.id.replace_folder).setOnClickListener { pick.pickFolder() }
        view.findViewById<Button>(R.id.forget).setOnClickListener { actions.forget() }
        view.findViewById<Button>(R.id.erase).setOnClickListener { actions.erase() }
    }

    override fun show(state: AppState) {
        settings = state.settings
        view.findViewById<Switch>(R.id.charging).isChecked = settings.charging
        view.findViewById<Switch>(R.id.unmetered).isChecked = settings.unmetered
        view.findViewById<Switch>(R.id.idle).isChecked = settings.idle
        for (choice in numbers) {
            view.findViewById<FactRow>(choice.row).value = choice.words(choice.get(settings))
        }
        val model = state.model
        view.findViewById<TextView>(R.id.model_name).text =
            model?.manifest?.architecture?.backbone?.name ?: context.getString(R.string.training_no_model)
        view.findViewById<View>(R.id.forget).visible(state.device.personal)
        view.findViewById<View>(R.id.erase).visible(state.examples.isNotEmpty())
    }

    private fun minutes(count: Int) = orNoLimit(count) { context.getString(R.string.minutes, count) }

    private fun megabytes(count: Int) = orNoLimit(count) { "$count MB" }

    private fun mebibytes(count: Int) = orNoLimit(count) { "$count MiB" }

    private fun orNoLimit(count: Int, words: () -> String) =
        if (count == 0) context.getString(R.string.no_limit) else words()

    private companion object {
        val HEATS = listOf(R.string.heat_light, R.string.heat_moderate, R.string.heat_severe)
        val PRIORS = listOf(R.string.prior_off, R.string.prior_half, R.string.prior_full)
        val TOGGLES = mapOf<Int, (Settings, Boolean) -> Settings>(
            R.id.charging to { settings, on -> settings.copy(charging = on) },
            R.id.unmetered to { settings, on -> settings.copy(unmetered = on) },
            R.id.idle to { settings, on -> settings.copy(idle = on) },
        )
    }
}
