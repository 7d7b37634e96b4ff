/** What a device shows of itself: values that never change once made, to hand to any thread. No text of the user's. */
package org.edgeexperts.core

/** What a device does at the moment. */
public enum class Doing {
    /** Nothing: it waits for a plan, or was not asked for anything. */
    IDLE,

    /** It computes class sums of its examples, which a federation starts the head from. */
    PREPARING,

    /** It makes steps. */
    TRAINING,

    /** It has steps to make and may not: [DeviceState.hindrances] says why. */
    PAUSED,
}

/**
 * A step's loss.
 *
 * @property step from 1.
 */
public data class LossPoint(public val step: Int, public val loss: Double)

/**
 * What the gateway decided about something that this device sent.
 *
 * @property atMillis when it came, in milliseconds since 1970.
 * @property kind "hello", "statistics", "delta", or in rounds under masks "keys", "shares" or "answer".
 * @property round of a delta; else as the gateway says it, or 0.
 * @property code its name in wire.proto: "ACCEPTED", or why it was refused.
 * @property detail for people; empty when nothing is to be said.
 */
public data class VerdictNote(
    public val atMillis: Long,
    public val kind: String,
    public val round: Long,
    public val code: String,
    public val detail: String,
) {
    /** Whether the gateway took it. */
    public val accepted: Boolean get() = code == "ACCEPTED"
}

/**
 * The experts of one adapted layer that this device holds for the plan at hand.
 *
 * @property layer its number.
 * @property trained indices of those that it trains.
 * @property frozen indices of those that it only runs.
 */
public data class HeldExperts(public val layer: Int, public val trained: List<Int>, public val frozen: List<Int>)

/**
 * Where a device stands at one moment.
 *
 * @property doing what it does.
 * @property hindrances what stands against training now; empty unless [doing] is PAUSED.
 * @property link where it stands with the gateway; OFFLINE while it takes no part.
 * @property work what it does for the present plan.
 * @property round of the plan at hand, or of the last; 0 before the first.
 * @property roundsPlanned that the gateway wants to make in all; 0: no end is planned, or not known.
 * @property version of the bank that it predicts with; 0 is the package's own.
 * @property personal whether it predicts with what it learned by itself on top of that version.
 * @property bytesUp MQTT payloads sent since it began to take part.
 * @property bytesDown MQTT payloads received.
 * @property verdicts the last ones, oldest first.
 * @property losses of the present run or the last, one for each step; its last 1,000.
 * @property step made of the present run or the last.
 * @property steps of that run in all.
 * @property stepMs time of the last step; 0 before the first.
 * @property fill how full the steps of that run were.
 * @property peakMemoryMib most memory that this process ever had resident; 0 where the system does not tell.
 * @property examples on this device whose label the package knows.
 * @property tier name of the program size that it trains in, or would.
 * @property experts held for the plan at hand or the last, by layer; empty before the first.
 * @property shortfalls what the last training on this device alone did not reach; empty when it was worth it.
 * @property notice one line for its user about what went wrong last; empty when nothing did.
 */
public data class DeviceState(
    public val doing: Doing = Doing.IDLE,
    public val hindrances: Set<Hindrance> = emptySet(),
    public val link: LinkState = LinkState.OFFLINE,
    public val work: WorkState = WorkState.IDLE,
    public val round: Long = 0,
    public val roundsPlanned: Long = 0,
    public val version: Long = 0,
    public val personal: Boolean = false,
    public val bytesUp: Long = 0,
    public val bytesDown: Long = 0,
    public val verdicts: List<VerdictNote> = emptyList(),
    public val losses: List<LossPoint> = emptyList(),
    public val step: Int = 0,
    public val steps: Int = 0,
    public val stepMs: Double = 0.0,
    public val fill: Fill = Fill(),
    public val peakMemoryMib: Double = 0.0,
    public val examples: Int = 0,
    public val tier: String = "",
    public val experts: List<HeldExperts> = emptyList(),
    public val shortfalls: Set<Shortfall> = emptySet(),
    public val notice: String = "",
)
