package org.edgeexperts.core

import org.edgeexperts.wire.CHUNK_PAYLOAD
import org.edgeexperts.wire.Cut
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.Offer
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.missingChunks
import java.util.concurrent.ConcurrentLinkedQueue

/**
 * A body on its way to the gateway: offered whole, sent in those chunks that the gateway asks for; as
 * edge_runtime/federation/upload.py.
 *
 * @param device whose it is.
 */
internal class Upload(private val device: String, kind: Kind, body: ByteArray, payload: Int = CHUNK_PAYLOAD) {
    private val cut = Cut(body, kind, payload)
    private var left = ConcurrentLinkedQueue<Int>()

    /** Over the body. */
    val digest: ByteArray get() = cut.digest

    /** Returns the Offer. */
    fun offer(): ByteArray = Offer.newBuilder().setWireVersion(WIRE_VERSION).setDevice(device).setKind(cut.kind)
        .setDigest(digest.asField()).setCount(cut.count).setTotal(cut.body.size.toLong()).build().toByteArray()

    /**
     * Takes note of which chunks the gateway lacks; returns them, each cut when it is taken, from any thread. What is
     * still to come of an earlier request is left out there: it is asked for anew.
     *
     * @param missing of its verdict.
     * @throws org.edgeexperts.wire.WireException MALFORMED when it names no chunks of this body.
     */
    fun asked(missing: ByteArray): Sequence<ByteArray> {
        val indexes = ConcurrentLinkedQueue(missingChunks(missing, cut.count))
        stop()
        left = indexes
        return generateSequence { indexes.poll()?.let(cut::chunk) }
    }

    /** Leaves out what was asked for and is not on its way yet: nobody waits for it any more. */
    fun stop() = left.clear()
}
