/**
 * Bodies larger than a message travel in chunks, and are put together again in any order, from any mixture.
 *
 * Every chunk but the last carries the same number of bytes, so a chunk's place follows from its index alone.
 */
package org.edgeexperts.wire

import com.google.protobuf.ByteString
import java.io.ByteArrayOutputStream

/** Bytes of body in a chunk; the rest of the message is its header, with room to spare. */
public const val CHUNK_PAYLOAD: Int = MESSAGE_LIMIT - 1024

private const val BODY_COST = 1024L
private const val PIECE_COST = 128L
// What is kept beside the bytes; charged, so that a flood of tiny pieces is bounded like one of large pieces.

/**
 * A body as it is cut into chunks.
 *
 * @property body 1 to BODY_LIMIT bytes.
 * @property kind of the body.
 * @param payload bytes of it in each chunk but the last, 1 to CHUNK_PAYLOAD.
 * @throws WireException MALFORMED for an empty body, TOO_LARGE for one over the limits.
 */
public class Cut(public val body: ByteArray, public val kind: Kind, payload: Int = CHUNK_PAYLOAD) {
    private val piece = minOf(payload, CHUNK_PAYLOAD)

    /** How many chunks there are. */
    public val count: Int = (body.size + piece - 1) / piece

    /** Over the body. */
    public val digest: ByteArray = sha256(body)

    init {
        if (body.isEmpty()) throw malformed("an empty body cannot be sent")
        if (body.size > BODY_LIMIT || count > CHUNKS_LIMIT) {
            val detail = "body of ${body.size} bytes in $count chunks, limits $BODY_LIMIT and $CHUNKS_LIMIT"
            throw WireException(Code.TOO_LARGE, detail)
        }
    }

    /** Returns the bytes of the body in chunk [index]. */
    public fun size(index: Int): Int = minOf(piece, body.size - index * piece)

    /** Returns the encoded chunk [index]. */
    public fun chunk(index: Int): ByteArray =
        Chunk.newBuilder().setWireVersion(WIRE_VERSION).setKind(kind).setDigest(digest.asField()).setIndex(index)
            .setCount(count).setTotal(body.size.toLong())
            .setPayload(ByteString.copyFrom(body, index * piece, size(index))).build().toByteArray()
}

/**
 * Returns the encoded chunks of [body], in order, each made when it is asked for.
 *
 * @param body 1 to BODY_LIMIT bytes.
 * @param payload bytes of it in each chunk, 1 to CHUNK_PAYLOAD.
 * @throws WireException MALFORMED for an empty body, TOO_LARGE for one over the limits.
 */
public fun split(body: ByteArray, kind: Kind, payload: Int = CHUNK_PAYLOAD): Sequence<ByteArray> {
    val cut = Cut(body, kind, payload)
    return (0 until cut.count).asSequence().map(cut::chunk)
}

/**
 * Reads which chunks of a body lack, ascending; all of them when [missing] is empty.
 *
 * @param missing as a Verdict or a Want has it.
 * @param count chunks of the body.
 * @throws WireException MALFORMED when it is of another number of chunks, or names none.
 */
public fun missingChunks(missing: ByteArray, count: Int): List<Int> {
    if (missing.isEmpty()) return (0 until count).toList()
    val indexes = (0 until missing.size * 8).filter { missing[it / 8].toInt() ushr it % 8 and 1 == 1 }
    if (missing.size != (count + 7) / 8 || indexes.isEmpty() || indexes.last() >= count) {
        throw malformed("${missing.size} bytes do not say which of $count chunks lack")
    }
    return indexes
}

/** Writes which of [count] chunks lack, at least one; nothing when it is all of them. */
public fun missingBytes(indexes: Collection<Int>, count: Int): ByteArray {
    if (indexes.toSet().size == count) return ByteArray(0)
    val bytes = ByteArray((count + 7) / 8)
    for (index in indexes) bytes[index / 8] = (bytes[index / 8].toInt() or (1 shl index % 8)).toByte()
    return bytes
}

/**
 * What came of a body so far.
 *
 * @property count of its chunks.
 * @property total its bytes.
 * @property pieces bytes by index.
 */
public class Unfinished(
    public val count: Int,
    public val total: Long,
    public val kind: Kind,
    public val pieces: Map<Int, ByteString>,
) {
    /** Which chunks lack, as a Verdict or a Want says it. */
    public val missing: ByteArray get() = missingBytes((0 until count).filterNot(pieces::containsKey), count)
}

/**
 * Puts bodies together. What it keeps is bounded by what was received, not by what a chunk announces.
 *
 * Room is made by dropping whole unfinished bodies, the one that waited longest first: of the sender itself when it is
 * over its share, else of the sender that holds most. So nobody can push another's body out by sending little, and a
 * dropped body is sent again, since no verdict came for it.
 *
 * @param limit bytes of all unfinished bodies together.
 * @param bodyLimit bytes of one body.
 * @param senderLimit bytes of one sender's unfinished bodies together.
 */
public class Assembler(
    private val limit: Long = 4L * BODY_LIMIT,
    private val bodyLimit: Int = BODY_LIMIT,
    private val senderLimit: Long = limit / 2,
) {
    private data class Shape(val count: Long, val total: Long, val kind: Kind, val piece: Long)

    private class Partial(val shape: Shape) {
        val pieces = HashMap<Int, ByteString>()
        var cost = BODY_COST
    }

    private val partials = HashMap<String, LinkedHashMap<ByteString, Partial>>()
    private val held = LinkedHashMap<String, Long>()

    /** Bytes kept for unfinished bodies, their bookkeeping included. */
    public var heldBytes: Long = 0
        private set

    /**
     * Takes a checked chunk of [sender]; returns the body when this chunk completes it.
     *
     * @throws WireException TOO_LARGE, MALFORMED (chunks that contradict each other) or DIGEST_MISMATCH; after the last
     *   two the body's chunks are forgotten.
     */
    public fun add(sender: String, chunk: Chunk): ByteArray? {
        if (chunk.total > bodyLimit) {
            throw WireException(Code.TOO_LARGE, "body of ${chunk.total} bytes, limit $bodyLimit")
        }
        val partial = place(sender, chunk, Shape(chunk.count.u32, chunk.total, chunk.kind, pieceSize(chunk)))
        if (partial.pieces.size < chunk.count) {
            makeRoom(sender)
            return null
        }
        drop(sender, chunk.digest)
        val body = ByteArrayOutputStream(chunk.total.toInt())
        for (index in 0 until chunk.count) {
            partial.pieces.getValue(index).writeTo(body)
        }
        val bytes = body.toByteArray()
        if (!sha256(bytes).contentEquals(chunk.digest.toByteArray())) {
            val wanted = hex(chunk.digest.toByteArray()).take(12)
            throw WireException(Code.DIGEST_MISMATCH, "${bytes.size} bytes do not have the digest $wanted")
        }
        return bytes
    }

    /** Returns what came of a body of [sender] so far; null when nothing is kept of it. */
    public fun unfinished(sender: String, digest: ByteArray): Unfinished? = partials[sender]?.get(digest.asField())?.let {
        Unfinished(it.shape.count.toInt(), it.shape.total, it.shape.kind, it.pieces)
    }

    /** Drops an unfinished body of [sender], if it is there; without [digest] all of them. */
    public fun forget(sender: String, digest: ByteArray? = null) {
        val bodies = partials[sender]?.keys.orEmpty().filter { digest == null || it == digest.asField() }
        bodies.forEach { drop(sender, it) }
    }

    private fun place(sender: String, chunk: Chunk, shape: Shape): Partial {
        val bodies = partials.getOrPut(sender) { LinkedHashMap() }
        val partial = bodies[chunk.digest] ?: Partial(shape).also { charge(sender, it.cost) }
        bodies.remove(chunk.digest) // and in again: the last one heard of is the last to go
        bodies[chunk.digest] = partial
        val earlier = partial.pieces[chunk.index]
        if (partial.shape != shape || (earlier != null && earlier != chunk.payload)) {
            drop(sender, chunk.digest)
            throw malformed("chunk ${chunk.index} of ${chunk.count} contradicts the chunks before it")
        }
        if (earlier == null) {
            partial.pieces[chunk.index] = chunk.payload
            val cost = chunk.payload.size() + PIECE_COST
            partial.cost += cost
            charge(sender, cost)
        }
        return partial
    }

    /** Drops what is over the limits, but never the only body of [sender]: it is the one that is arriving. */
    private fun makeRoom(sender: String) {
        val own = partials.getValue(sender)
        while (held.getValue(sender) > senderLimit && own.size > 1) {
            drop(sender, own.keys.first())
        }
        while (heldBytes > limit) {
            val candidates = if (own.size > 1) held.keys else held.keys - sender
            val largest = candidates.maxByOrNull(held::getValue) ?: return
            drop(largest, partials.getValue(largest).keys.first())
        }
    }

    private fun charge(sender: String, cost: Long) {
        held[sender] = (held[sender] ?: 0) + cost
        heldBytes += cost
    }

    private fun drop(sender: String, digest: ByteString) {
        val bodies = partials.getValue(sender)
        charge(sender, -bodies.remove(digest)!!.cost)
        if (bodies.isEmpty()) {
            partials.remove(sender)
            held.remove(sender)
        }
    }
}
