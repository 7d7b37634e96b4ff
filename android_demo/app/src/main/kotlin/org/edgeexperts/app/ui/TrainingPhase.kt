package org.edgeexperts.app.ui

import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.background.Mode
import org.edgeexperts.core.Doing
import org.edgeexperts.core.Hindrance
import org.edgeexperts.core.LinkState
import org.edgeexperts.core.Shortfall
import org.edgeexperts.core.WorkState

/**
 * Where training stands, in words.
 *
 * @property title string resource.
 * @property text string resources, one line each.
 */
data class TrainingPhase(val title: Int, val text: List<Int>, val canStart: Boolean, val canStop: Boolean)

private fun phase(title: Int, vararg text: Int, start: Boolean = false, stop: Boolean = false) =
    TrainingPhase(title, text.toList(), start, stop)

/** Returns what to tell of training. */
fun trainingPhase(state: AppState): TrainingPhase = when {
    state.engine == null -> phase(R.string.training_no_engine, R.string.engine_none)
    state.model == null -> phase(R.string.training_no_model, R.string.training_no_model_text)
    state.examples.isEmpty() -> phase(R.string.training_no_examples, R.string.training_no_examples_text)
    state.stopped -> phase(R.string.training_paused, R.string.training_paused_text, start = true)
    state.mode == Mode.NONE -> resting(state).let { it.copy(text = it.text + state.device.shortfalls.sorted().map(::lacks)) }
    else -> working(state)
}

private fun resting(state: AppState): TrainingPhase = when {
    state.enrolment == null && state.upToDate -> phase(R.string.training_ready, R.string.training_ready_text)
    state.settings.background -> phase(R.string.training_waiting, R.string.waits_turn, start = true)
    else -> phase(R.string.training_off, R.string.training_off_text, start = true)
}

private fun working(state: AppState): TrainingPhase {
    val device = state.device
    val quiet = state.mode == Mode.QUIET
    return when (device.doing) {
        Doing.TRAINING -> phase(R.string.training_running, stop = true)
        Doing.PREPARING -> phase(R.string.training_starting, R.string.training_preparing_text, stop = true)
        Doing.PAUSED -> TrainingPhase(
            R.string.training_waiting, device.hindrances.sorted().map(::waits), canStart = quiet, canStop = !quiet,
        )
        Doing.IDLE ->
            if (state.enrolment == null) phase(R.string.training_starting, R.string.training_starting_text, stop = true)
            else phase(R.string.training_waiting, waits(device.link, device.work), start = quiet, stop = !quiet)
    }
}

private fun lacks(shortfall: Shortfall): Int = when (shortfall) {
    Shortfall.ONE_LABEL -> R.string.training_one_label
    Shortfall.NO_BETTER -> R.string.training_no_better
}

private fun waits(hindrance: Hindrance): Int = when (hindrance) {
    Hindrance.IN_USE -> R.string.waits_in_use
    Hindrance.LOW_BATTERY -> R.string.waits_battery
    Hindrance.METERED -> R.string.waits_metered
    Hindrance.HOT -> R.string.waits_hot
    Hindrance.STORAGE_LOW -> R.string.waits_storage
    Hindrance.TIME_IS_UP -> R.string.waits_time
}

private fun waits(link: LinkState, work: WorkState): Int = when {
    work == WorkState.UPLOADING -> R.string.waits_verdict
    link != LinkState.MEMBER -> R.string.waits_gateway
    work == WorkState.WAITING -> R.string.waits_version
    else -> R.string.waits_round
}
