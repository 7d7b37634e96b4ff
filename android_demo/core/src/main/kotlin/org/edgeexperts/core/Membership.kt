/**
 * Membership: what a device says about itself, and what the gateway answers to that; as edge_runtime/federation/membership.py.
 *
 * Nothing here changes the session: functions say which of its events follows, and the device applies it.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Code
import org.edgeexperts.wire.GatewayState
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.Verdict
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

private const val DETAIL_SHOWN = 300

/** Numbers of Hellos without an answer at which that is told. */
private val UNANSWERED = setOf(3, 10, 30, 100)

/** Refusals of the device itself, whatever it sent. */
private val FINAL_CODES = setOf(Code.WRONG_FEDERATION, Code.REVOKED, Code.UNSUPPORTED_WIRE)

/**
 * One device's membership in a federation.
 *
 * @param work whose tier, step time and examples a Hello tells.
 * @param link to the broker.
 * @param timers for Hello and statistics.
 * @param board where verdicts and notices are shown.
 * @param millis Unix time, for verdicts.
 * @param metered whether nothing large may be sent now.
 */
internal class Membership(
    private val identity: Identity,
    private val work: Work,
    private val link: Link,
    private val timers: Timers,
    private val board: StateBoard,
    private val millis: () -> Long,
    private val metered: () -> Boolean,
) {
    private val federation = work.tools.manifest.architecture.digest()
    private val statistics =
        Upload(identity.device, Kind.STATISTICS, identity.sums.message(identity.device, federation))
    private val statisticsDigest = statistics.digest
    private var greeted = ByteArray(0)
    private var helloDigest = ByteArray(0)
    private var unanswered = 0

    init {
        work.classSums = identity.sums
    }

    /** The state of a gateway that is online and serves this federation. */
    var gateway: GatewayState? = null
        private set

    /** Why the gateway will not have this device; empty while it may. */
    var expelled = ""
        private set

    // --- the gateway ------------------------------------------------------------------------------------------

    /** Greets the next state that comes, whatever its session: the connection is new, or the gateway forgot. */
    fun forgetGreeting() {
        greeted = ByteArray(0)
        unanswered = 0
    }

    /**
     * Takes the gateway's state; returns the event that follows, null when nothing changed.
     *
     * @throws org.edgeexperts.wire.WireException when the bytes are none.
     */
    fun takeState(payload: ByteArray): Event? {
        val state = MessageKind.GATEWAY_STATE.decode(payload)
        val session = state.session.toByteArray()
        gateway = state.takeIf { it.online && it.federationDigest.toByteArray().contentEquals(federation) }
        return when {
            !state.online -> Event.GATEWAY_GONE.also { forgetGreeting() }
            gateway == null -> Event.FOREIGN.also { tellForeign(state.federationDigest.toByteArray()) }
            session.contentEquals(greeted) -> null
            else -> Event.GATEWAY.also {
                greeted = session
                unanswered = 0
            }
        }
    }

    private fun tellForeign(theirs: ByteArray) {
        val (came, own) = listOf(theirs, federation).map { hex(it).take(12) }
        board.notice(
            "the gateway serves another federation ($came…, this package is for $own…): staying silent; " +
                "use a package exported for it",
        )
    }

    // --- what it says -----------------------------------------------------------------------------------------

    /** Says Hello, until its verdict comes. */
    fun sendHello() {
        val body = helloOf(identity, work, statisticsDigest, gateway)
        helloDigest = sha256(body)
        if (unanswered in UNANSWERED) tellUnanswered()
        unanswered++
        link.send(Topic.HELLO, sequenceOf(body))
        timers.again(Due.HELLO)
    }

    /** Tells what may be wrong: MQTT 3.1.1 does not say when a broker drops what a device publishes. */
    private fun tellUnanswered() = board.notice(
        "no answer to $unanswered Hellos: the gateway is busy, or the broker drops what this device says; the name in its " +
            "certificate (or its user at the broker) has to be its name here, ${identity.device}, and that name must have " +
            "the rights of a device there",
    )

    /** Offers the class sums, until their verdict comes. */
    fun offerStatistics() {
        if (metered()) return timers.later(Due.STATISTICS)
        link.send(Topic.OFFER, sequenceOf(statistics.offer()))
        timers.again(Due.STATISTICS)
    }

    // --- what the gateway answers -----------------------------------------------------------------------------

    /** Returns whether a verdict is on the Hello. */
    fun onHello(verdict: Verdict): Boolean =
        verdict.kind == Kind.HELLO && verdict.digest.toByteArray().contentEquals(helloDigest)

    /** Returns whether a verdict is on the statistics. */
    fun onStatistics(verdict: Verdict): Boolean =
        verdict.kind == Kind.STATISTICS && verdict.digest.toByteArray().contentEquals(statisticsDigest)

    /**
     * Shows a verdict on anything that this device sent; returns EXPEL or UNKNOWN when it is about the device rather than
     * about what was sent, else null.
     */
    fun takeVerdict(verdict: Verdict): Event? {
        if (verdict.code == Code.INCOMPLETE) return null // no decision yet
        val code = verdict.code?.takeIf { it != Code.UNRECOGNIZED }?.name ?: "CODE_${verdict.codeValue}"
        val detail = verdict.detail.take(DETAIL_SHOWN)
        val note = VerdictNote(millis(), verdict.kind.name.lowercase(), verdict.round, code, detail)
        board.change { plus(note) }
        return when {
            verdict.code in FINAL_CODES -> {
                expelled = "the gateway refuses this device: $code $detail".trim()
                board.notice(expelled)
                Event.EXPEL
            }
            verdict.code == Code.UNKNOWN_DEVICE && !onHello(verdict) -> Event.UNKNOWN.also { forgetGreeting() }
            else -> null
        }
    }

    /** Takes the verdict on the Hello; returns WELCOME when it was accepted, else null, and Hello is said again later. */
    fun takeHelloVerdict(verdict: Verdict): Event? {
        if (unanswered > UNANSWERED.first()) board.notice("")
        unanswered = 0
        if (verdict.code != Code.ACCEPTED) {
            timers.again(Due.HELLO, verdict.retryAfterS.toDouble())
            return null
        }
        timers.stop(Due.HELLO)
        return Event.WELCOME
    }

    /**
     * Takes the verdict on the statistics.
     *
     * @throws org.edgeexperts.wire.WireException MALFORMED when it asks for chunks that there are not.
     */
    fun takeStatisticsVerdict(verdict: Verdict) {
        timers.stop(Due.STATISTICS)
        if (verdict.code == Code.INCOMPLETE && !metered()) {
            link.send(Topic.STATISTICS, statistics.asked(verdict.missing.toByteArray()))
        }
        if (verdict.retryAfterS > 0) timers.again(Due.STATISTICS, verdict.retryAfterS.toDouble())
    }
}
