/**
 * What a device should be at, decided from what happened. Values alone: no clock, file, thread or Android, so an app may
 * keep an [Agenda] wherever it keeps its state.
 */
package org.edgeexperts.background

import org.edgeexperts.core.Budget
import org.edgeexperts.core.Constraints
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

/** Why the device is at work. */
public enum class Mode {
    /** It is not. */
    NONE,

    /** The app is open, or its job runs: under all conditions of the settings. */
    QUIET,

    /** The user pressed Start: only heat, battery and storage count. */
    NOW,
}

/**
 * What the user asks for.
 *
 * @property quiet conditions of work that begins by itself.
 * @property now conditions of work that the user started.
 * @property budget what a round may cost.
 */
public data class Wishes(
    public val quiet: Constraints = Constraints(),
    public val now: Constraints = Constraints(needsIdle = false, needsUnmetered = false),
    public val budget: Budget = Budget(),
)

/**
 * What the device should do: train alone, or take part in a federation.
 *
 * @property mode [Mode.QUIET] or [Mode.NOW].
 * @property enrolment the federation to take part in; null: train alone.
 */
public data class RunRequest(
    public val mode: Mode,
    public val constraints: Constraints,
    public val budget: Budget,
    public val enrolment: Enrolment?,
)

/**
 * What there is to work on.
 *
 * @property packageDigest hex, of the package that is open; null: none is.
 * @property version of the bank in use.
 * @property examples ids of the device's examples.
 */
public data class Situation(
    public val packageDigest: String?,
    public val version: Long,
    public val examples: List<Long>,
    public val enrolment: Enrolment?,
    public val wishes: Wishes,
) {
    /** Names what training alone starts from, model and examples: hex of SHA-256. */
    public val stamp: String by lazy { hex(sha256("$packageDigest $version ${examples.joinToString(",")}".toByteArray())) }
}

/**
 * What happened so far, as far as it matters for what to do next. Each event returns the agenda after it.
 *
 * In a federation a device works while the app is in sight, one of the system's jobs runs or the user pressed Start; alone
 * while a job runs or after Start, until it is up to date. What ended, by itself or with an error, does not begin again
 * until something changed: an event that says so, or another [Situation].
 *
 * @property visible whether the app is in sight.
 * @property jobs of the system's that run.
 * @property started the user pressed Start, and that run has not ended.
 * @property stopped the user pressed Stop, and not Start since; to be kept across processes.
 * @property trained [Situation.stamp] of the training alone that was completed last, "" for none; to be kept, too.
 * @property over the request that ended.
 * @property begunWith the stamp that the run at hand began with.
 */
public data class Agenda(
    public val visible: Boolean = false,
    public val jobs: Int = 0,
    public val started: Boolean = false,
    public val stopped: Boolean = false,
    public val trained: String = "",
    public val over: RunRequest? = null,
    public val begunWith: String = "",
) {
    /** The app came into sight ([shown]), or went. */
    public fun seen(shown: Boolean): Agenda = copy(visible = shown)

    /** A job of the system's began ([begun]) or must end. */
    public fun job(begun: Boolean): Agenda = copy(jobs = (jobs + if (begun) 1 else -1).coerceAtLeast(0))

    /** The user pressed Start. */
    public fun start(): Agenda = copy(started = true, stopped = false, over = null)

    /** The user pressed Stop. */
    public fun stop(): Agenda = copy(started = false, stopped = true)

    /** Examples, settings or the enrolment changed: what ended may begin again. */
    public fun changed(): Agenda = copy(over = null)

    /** What the device learned alone was forgotten. */
    public fun forgotten(): Agenda = copy(trained = "")

    /** A run began in [situation]. */
    public fun began(situation: Situation): Agenda = copy(begunWith = situation.stamp)

    /** [request] could not begin. */
    public fun refused(request: RunRequest?): Agenda = copy(over = request)

    /** [request] ended by itself, or ([failed]) with an error. */
    public fun ended(request: RunRequest, failed: Boolean): Agenda {
        val completed = !failed && request.enrolment == null
        return copy(started = false, over = request, trained = if (completed) begunWith else trained)
    }

    /** Whether what is to be trained alone was trained. */
    public fun upToDate(situation: Situation): Boolean = trained == situation.stamp

    /** What the device should be at now; null: nothing. */
    public fun wanted(situation: Situation): RunRequest? {
        if (stopped || situation.packageDigest == null || situation.examples.isEmpty()) return null
        val alone = situation.enrolment == null
        if (alone && upToDate(situation)) return null
        if (!started && jobs == 0 && (alone || !visible)) return null
        return request(situation).takeIf { it != over }
    }

    private fun request(situation: Situation): RunRequest {
        val mode = if (started) Mode.NOW else Mode.QUIET
        val wishes = situation.wishes
        return RunRequest(mode, if (started) wishes.now else wishes.quiet, wishes.budget, situation.enrolment)
    }
}
