/** When to send something again: timers with a backoff, on a clock that a test may hold. */
package org.edgeexperts.core

import kotlin.math.max
import kotlin.math.min

internal const val FIRST_RESEND_S = 5.0
internal const val LAST_RESEND_S = 300.0

/** What a device sends until somebody answers. */
internal enum class Due { HELLO, RESEND, SENT, WANT, RELEASE, PIECES, STATISTICS, MASKS }

/**
 * Timers.
 *
 * @param seconds a clock.
 * @param chance numbers in [0, 1), for jitter.
 */
internal class Timers(private val seconds: () -> Double, private val chance: () -> Double) {
    private class Timer(var tries: Int = 0, var due: Double? = null)

    private val timers = Due.values().associateWith { Timer() }

    /** Sets a timer: [afterSeconds] from now, or (0) the next step of its backoff. */
    fun again(name: Due, afterSeconds: Double = 0.0) {
        val timer = timers.getValue(name)
        val wait = if (afterSeconds > 0) afterSeconds else backoff(timer.tries, FIRST_RESEND_S, LAST_RESEND_S, chance())
        timer.due = seconds() + wait
        timer.tries++
    }

    /** Looks at a timer's matter again soon, without counting it as a try. */
    fun later(name: Due) {
        timers.getValue(name).due = seconds() + FIRST_RESEND_S
    }

    /** Returns whether a timer is set. */
    fun running(name: Due): Boolean = timers.getValue(name).due != null

    /** Stops a timer and forgets its tries. */
    fun stop(name: Due) {
        timers.getValue(name).let {
            it.tries = 0
            it.due = null
        }
    }

    fun stopAll() = Due.values().forEach(::stop)

    /** Returns the timers that are due; each is told once. */
    fun takeDue(): List<Due> {
        val now = seconds()
        val due = timers.filterValues { timer -> timer.due?.let { now >= it } ?: false }
        due.values.forEach { it.due = null }
        return due.keys.toList()
    }

    /** Returns the seconds until the next timer, at most [limitSeconds]. */
    fun pause(limitSeconds: Double): Double {
        val next = timers.values.mapNotNull(Timer::due).minOrNull() ?: return limitSeconds
        return max(0.0, min(limitSeconds, next - seconds()))
    }
}
