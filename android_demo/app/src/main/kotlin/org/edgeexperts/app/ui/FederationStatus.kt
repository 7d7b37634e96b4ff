/** What a link's state and a gateway's codes mean, in words. */
package org.edgeexperts.app.ui

import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.background.Mode
import org.edgeexperts.core.LinkState

/** String resources: a title, and what it means. */
data class FederationStatus(val title: Int, val text: Int)

/** Returns where this phone stands with the gateway. */
fun federationStatus(state: AppState): FederationStatus = when {
    state.enrolment == null -> FederationStatus(R.string.federation_none, R.string.federation_none_text)
    state.device.link == LinkState.EXPELLED -> FederationStatus(R.string.link_expelled, R.string.link_expelled_text)
    state.model == null -> FederationStatus(R.string.training_no_model, R.string.training_no_model_text)
    state.engine == null -> FederationStatus(R.string.training_no_engine, R.string.engine_none)
    state.examples.isEmpty() -> FederationStatus(R.string.link_resting, R.string.link_examples_text)
    state.stopped -> FederationStatus(R.string.link_resting, R.string.training_paused_text)
    state.mode == Mode.NONE -> FederationStatus(R.string.link_resting, R.string.link_resting_text)
    else -> connected(state.device.link)
}

private fun connected(link: LinkState) = when (link) {
    LinkState.OFFLINE -> FederationStatus(R.string.link_offline, R.string.link_offline_text)
    LinkState.LISTENING -> FederationStatus(R.string.link_listening, R.string.link_listening_text)
    LinkState.GREETING -> FederationStatus(R.string.link_greeting, R.string.link_greeting_text)
    LinkState.MEMBER -> FederationStatus(R.string.link_member, R.string.link_member_text)
    LinkState.STRANGER -> FederationStatus(R.string.link_stranger, R.string.link_stranger_text)
    LinkState.EXPELLED -> FederationStatus(R.string.link_expelled, R.string.link_expelled_text)
}

private val REASONS = mapOf(
    "WRONG_FEDERATION" to R.string.link_stranger_text,
    "NOT_FINITE" to R.string.code_not_finite,
    "NORM_TOO_LARGE" to R.string.code_norm,
    "STALE" to R.string.code_stale,
    "UNKNOWN_PLAN" to R.string.code_stale,
    "DUPLICATE" to R.string.code_duplicate,
    "NO_EXAMPLES" to R.string.code_examples,
    "BUSY" to R.string.code_busy,
    "STORAGE_FULL" to R.string.code_busy,
    "UNKNOWN_DEVICE" to R.string.code_unknown_device,
    "REVOKED" to R.string.link_expelled_text,
    "UNSUPPORTED_WIRE" to R.string.code_unsupported,
    "UNSUPPORTED_CODEC" to R.string.code_unsupported,
)

/** Returns the string resource that says what a verdict's [code] means and what to do. */
fun reasonOf(code: String): Int = REASONS[code] ?: R.string.code_other
