package org.edgeexperts.core

import org.edgeexperts.wire.Code
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.Verdict

/**
 * The delivery of deltas: the pending one until its final verdict, an accepted one for as long as it is kept; as
 * edge_runtime/federation/delta_delivery.py.
 *
 * Nothing here changes the session: functions say which of its events follows, and the device applies it.
 *
 * @param device whose they are.
 * @param work the pending delta, and the accepted one that is kept.
 * @param link to the broker.
 * @param timers for [Due.RESEND] and [Due.SENT].
 * @param metered whether nothing large may be sent now.
 */
internal class DeltaDelivery(
    private val device: String,
    private val work: Work,
    private val link: Link,
    private val timers: Timers,
    private val metered: () -> Boolean,
) {
    private var pending: Upload? = null
    private var sent: Upload? = null

    /** Deltas that have their final verdict. */
    var settled = 0
        private set

    /** Offers the delta that waits for its verdict, until that comes. */
    fun offerPending() {
        val upload = pendingUpload() ?: return
        if (metered()) return timers.later(Due.RESEND)
        link.send(Topic.OFFER, sequenceOf(upload.offer()))
        timers.again(Due.RESEND)
    }

    /** Offers the accepted delta that is kept, if it is; where it is not, the gateway plans anew. */
    fun offerSent() {
        val body = work.sentBody()
        if (body == null) {
            sent = null
            return
        }
        if (metered()) return timers.later(Due.SENT)
        val offered = sent ?: Upload(device, Kind.DELTA, body).also { sent = it }
        link.send(Topic.OFFER, sequenceOf(offered.offer()))
        timers.again(Due.SENT)
    }

    /** Leaves out what the gateway asked for of this delta and is not on its way yet. */
    fun stop(digest: ByteArray) =
        listOfNotNull(pending, sent).filter { it.digest.contentEquals(digest) }.forEach(Upload::stop)

    /**
     * Takes a verdict on the pending delta; SETTLED when it is the final one, else null.
     *
     * @throws org.edgeexperts.wire.WireException MALFORMED when it asks for chunks that there are not.
     */
    fun takePendingVerdict(verdict: Verdict): Event? {
        if (verdict.code == Code.INCOMPLETE) pendingUpload()?.let { sendChunks(it, verdict) }
        if (verdict.retryAfterS > 0) {
            timers.again(Due.RESEND, verdict.retryAfterS.toDouble())
            return null
        }
        timers.stop(Due.RESEND)
        work.settle(verdict.code == Code.ACCEPTED)
        settled++
        return Event.SETTLED
    }

    /**
     * Takes a further verdict on a delta that was accepted: the gateway's disk lost it, or it takes no more of it.
     *
     * @throws org.edgeexperts.wire.WireException MALFORMED when it asks for chunks that there are not.
     */
    fun takeSentVerdict(verdict: Verdict) {
        if (verdict.code == Code.INCOMPLETE) sent?.let { sendChunks(it, verdict) }
        if (verdict.retryAfterS > 0) return timers.again(Due.SENT, verdict.retryAfterS.toDouble())
        timers.stop(Due.SENT)
        sent = null
        if (verdict.code != Code.ACCEPTED) work.letGo()
    }

    private fun pendingUpload(): Upload? {
        val waits = work.pending ?: return null
        return pending?.takeIf { it.digest.contentEquals(waits.digest) }
            ?: Upload(device, Kind.DELTA, waits.body).also { pending = it }
    }

    private fun sendChunks(upload: Upload, verdict: Verdict) {
        val asked = upload.asked(verdict.missing.toByteArray())
        if (!metered()) link.send(Topic.DELTA, asked) // else it is offered again once the network costs nothing
    }
}
