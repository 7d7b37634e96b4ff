package org.edgeexperts.core

import java.io.Closeable
import java.util.concurrent.CopyOnWriteArrayList

/** The present [DeviceState], and who wants to hear of the next. Any thread may change it and ask. */
internal class StateBoard(first: DeviceState) {
    private val listeners = CopyOnWriteArrayList<(DeviceState) -> Unit>()

    @Volatile
    var state = first
        private set

    /** Replaces the state; listeners hear the states in their order, on this thread. */
    fun change(next: DeviceState.() -> DeviceState) = synchronized(this) {
        val after = state.next()
        if (after != state) {
            state = after
            listeners.forEach { it(after) }
        }
    }

    /** Shows [text] as the latest notice. */
    fun notice(text: String) = change { copy(notice = text) }

    fun listen(listener: (DeviceState) -> Unit): Closeable = synchronized(this) {
        listeners += listener
        listener(state)
        Closeable { listeners -= listener }
    }
}

private const val VERDICTS_SHOWN = 50
private const val LOSSES_SHOWN = 1000

/** Returns the state with one more verdict. */
internal fun DeviceState.plus(verdict: VerdictNote): DeviceState =
    copy(verdicts = (verdicts + verdict).takeLast(VERDICTS_SHOWN))

/** Returns the state after a step of [trainer]. */
internal fun DeviceState.after(trainer: Trainer): DeviceState = copy(
    losses = (losses + LossPoint(trainer.steps, trainer.losses.last())).takeLast(LOSSES_SHOWN),
    step = trainer.steps,
    stepMs = trainer.lastMs,
    fill = trainer.fill,
    peakMemoryMib = peakMemoryMib(),
)

/** Returns the state at the start of a run, or where it goes on. */
internal fun DeviceState.beginning(trainer: Trainer, steps: Int): DeviceState {
    val before = trainer.losses.mapIndexed { place, loss -> LossPoint(place + 1, loss) }
    return copy(losses = before.takeLast(LOSSES_SHOWN), step = trainer.steps, steps = steps, fill = trainer.fill, shortfalls = emptySet())
        .placed(trainer)
}

/** Returns the state with the tier and the experts of [trainer]. */
internal fun DeviceState.placed(trainer: Trainer): DeviceState {
    val slots = trainer.slots
    val held = slots.layers(trainer.shape).mapIndexed { row, layer ->
        val moving = slots.held[row].filterIndexed { slot, _ -> slots.updateMask[row].getOrElse(slot) { 0f } > 0 }
        HeldExperts(layer.toInt(), moving, slots.held[row].filterNot(moving::contains))
    }
    return copy(tier = shortName(trainer.tier), experts = held)
}
