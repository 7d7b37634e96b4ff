package org.edgeexperts.core

import org.edgeexperts.wire.Code
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.Plan
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.Verdict
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

/**
 * The delivery of what a round under masks needs of this device: keys, shares, its answer; each until its verdict, as
 * edge_runtime/federation/mask_delivery.py.
 *
 * Nothing here changes the session: the device applies what follows.
 *
 * @param device whose it is.
 * @param masks the round at hand.
 * @param link to the broker.
 * @param timers for [Due.MASKS].
 * @param board where it is told why a round is over.
 * @param metered whether nothing large may be sent now.
 * @param over called when the round is over for this device before its delta was sent.
 */
internal class MaskDelivery(
    private val device: String,
    private val masks: Masks,
    private val link: Link,
    private val timers: Timers,
    private val board: StateBoard,
    private val metered: () -> Boolean,
    private val over: () -> Unit,
) {
    private var upload: Upload? = null
    private var kind = Kind.KIND_UNSPECIFIED

    init {
        if (masks.active) link.listen(Topic.SECURE)
    }

    /** Returns whether a verdict is on what was sent. */
    fun onSent(verdict: Verdict): Boolean =
        verdict.kind == kind && upload?.digest.contentEquals(verdict.digest.toByteArray())

    /** Takes part in the round of a [plan], if it goes under masks; [payload] is the plan's. */
    fun begin(plan: Plan, payload: ByteArray) {
        masks.begin(plan, hex(sha256(payload)))
        if (masks.active) link.listen(Topic.SECURE)
    }

    /**
     * Takes what the gateway tells of the round.
     *
     * @throws WireException when it is nothing for this device.
     */
    fun take(payload: ByteArray) {
        if (payload.isNotEmpty()) masks.take(payload) else drop()
    }

    /** Forgets the round. */
    fun drop() {
        masks.drop()
        forget()
    }

    /** Takes up the blobs that came; offers what follows to a gateway of which this device is a [member]. */
    fun advance(member: Boolean) {
        try {
            masks.advance()
            if (member) offer()
        } catch (error: WireException) {
            giveUp(error.message.orEmpty())
        } catch (error: SecureException) {
            giveUp(error.message.orEmpty())
        }
    }

    /** Offers what is to be sent next, if it was not offered yet; until its verdict comes. */
    private fun offer() {
        val next = masks.body() ?: return forget()
        if (next.kind == kind && upload?.digest.contentEquals(sha256(next.body))) return
        kind = next.kind
        upload = Upload(device, kind, next.body)
        offerAgain()
    }

    /** Offers it: no verdict came. */
    fun offerAgain() {
        val offered = upload ?: return
        if (metered()) return timers.later(Due.MASKS)
        link.send(Topic.OFFER, sequenceOf(offered.offer()))
        timers.again(Due.MASKS)
    }

    /**
     * Takes the verdict on what was sent.
     *
     * @throws WireException MALFORMED when it asks for chunks that there are not.
     */
    fun takeVerdict(verdict: Verdict) {
        if (verdict.code == Code.INCOMPLETE) {
            val asked = upload?.asked(verdict.missing.toByteArray())
            if (asked != null && !metered()) link.send(Topic.MASKS, asked) // else it is offered again once the network costs nothing
        }
        if (verdict.retryAfterS > 0) return timers.again(Due.MASKS, verdict.retryAfterS.toDouble())
        val decided = kind
        forget()
        when {
            verdict.code == Code.ACCEPTED -> {
                masks.accepted(decided)
                advance(member = true)
            }
            decided == Kind.ANSWER -> masks.drop() // the round is over without it
            else -> giveUp("the round under masks goes on without this device: ${verdict.detail}")
        }
    }

    private fun giveUp(reason: String) {
        board.notice(reason)
        drop()
        over()
    }

    /** Forgets what was offered, but not the round: a gateway that meets this device is offered it anew. */
    fun forget() {
        timers.stop(Due.MASKS)
        upload = null
        kind = Kind.KIND_UNSPECIFIED
    }
}
