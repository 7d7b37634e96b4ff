package org.edgeexperts.app.ui

import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.widget.FactRow
import org.edgeexperts.core.VerdictNote
import org.edgeexperts.wire.Enrolment

private const val SHOWN = 10

/**
 * Where this phone stands with a gateway, what went over the line, what the gateway said.
 *
 * @param leave asks whether to leave.
 */
class FederationScreen(parent: ViewGroup, pick: Pickers, leave: () -> Unit) : Screen {
    override val view: View = LayoutInflater.from(parent.context).inflate(R.layout.screen_federation, parent, false)
    private val context = parent.context
    private val verdicts = view.findViewById<LinearLayout>(R.id.verdicts)
    private val rows = Rows(verdicts, ::row)

    init {
        for (id in listOf(R.id.enrol, R.id.enrol_again)) {
            view.findViewById<Button>(id).setOnClickListener { pick.pickEnrolment() }
        }
        view.findViewById<Button>(R.id.leave).setOnClickListener { leave() }
    }

    override fun show(state: AppState) {
        val enrolment = state.enrolment
        val status = federationStatus(state)
        view.findViewById<TextView>(R.id.standing).setText(status.title)
        view.findViewById<TextView>(R.id.standing_text).setText(status.text)
        for (id in listOf(R.id.membership, R.id.enrol_again, R.id.leave, R.id.traffic, R.id.verdicts_card)) {
            view.findViewById<View>(id).visible(enrolment != null)
        }
        view.findViewById<View>(R.id.enrol).visible(enrolment == null)
        if (enrolment != null) showMembership(state, enrolment)
    }

    private fun showMembership(state: AppState, enrolment: Enrolment) {
        val device = state.device
        fact(R.id.fact_gateway, "${enrolment.gateway.host}:${enrolment.gateway.port}")
        fact(R.id.fact_encrypted, context.getString(if (enrolment.gateway.tls) R.string.yes else R.string.no))
        fact(R.id.fact_federation, enrolment.federation)
        fact(R.id.fact_device, enrolment.device)
        fact(
            R.id.fact_round,
            when {
                device.round == 0L -> context.getString(R.string.unknown)
                device.roundsPlanned > 0 -> context.getString(R.string.round_of, device.round, device.roundsPlanned)
                else -> "${device.round}"
            },
        )
        val version = if (device.personal) R.string.version_own else R.string.version_plain
        fact(R.id.fact_model_version, context.getString(version, device.version))
        fact(R.id.fact_up, bytes(context, device.bytesUp))
        fact(R.id.fact_down, bytes(context, device.bytesDown))
        view.findViewById<TextView>(R.id.notice).apply {
            text = device.notice
            visible(device.notice.isNotEmpty())
        }
        showVerdicts(device.verdicts.filter { it.kind == DELTA || !it.accepted }.takeLast(SHOWN).asReversed())
    }

    private fun fact(id: Int, value: String) {
        view.findViewById<FactRow>(id).value = value
    }

    private fun showVerdicts(verdicts: List<VerdictNote>) {
        view.findViewById<View>(R.id.verdicts_none).visible(verdicts.isEmpty())
        rows.show(verdicts)
    }

    private fun row(note: VerdictNote): View {
        val row = LayoutInflater.from(context).inflate(R.layout.row_verdict, verdicts, false)
        val title = title(note)
        val reason = if (note.accepted) "" else
            context.getString(R.string.verdict_reason, context.getString(reasonOf(note.code)), note.code)
        row.findViewById<TextView>(R.id.verdict_text).text = title
        row.findViewById<TextView>(R.id.verdict_reason).apply {
            text = reason
            visible(reason.isNotEmpty())
        }
        row.findViewById<ImageView>(R.id.verdict_icon).apply {
            setImageResource(if (note.accepted) R.drawable.ic_accepted else R.drawable.ic_refused)
            imageTintList = context.getColorStateList(if (note.accepted) R.color.accent else R.color.error)
        }
        row.contentDescription = listOf(title, reason).filter { it.isNotEmpty() }.joinToString(". ")
        return row
    }

    private fun title(note: VerdictNote) = when {
        note.kind == HELLO -> context.getString(R.string.verdict_hello)
        note.kind == STATISTICS -> context.getString(R.string.verdict_sums)
        note.kind != DELTA -> context.getString(R.string.verdict_masks)
        note.accepted -> context.getString(R.string.verdict_accepted, note.round)
        else -> context.getString(R.string.verdict_refused, note.round)
    }

    private companion object {
        const val DELTA = "delta"
        const val HELLO = "hello"
        const val STATISTICS = "statistics"
    }
}
