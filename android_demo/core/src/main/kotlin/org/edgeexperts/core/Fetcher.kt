package org.edgeexperts.core

import org.edgeexperts.wire.Assembler
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MEMBERS_LIMIT
import org.edgeexperts.wire.MESSAGE_LIMIT
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.Want
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

// Blobs asked for at once: their topics must fit into one SUBSCRIBE of less than a message's size.
private const val ASKED_LIMIT = 500

// Blobs that came and are still listened to, at most: one message to the broker ends as many.
private const val RELEASE_AT = 16

private const val SENDER = "gateway"

/**
 * Blobs: which were asked for, what came of them, what to ask for next.
 *
 * @param versions where blobs go.
 * @param link to ask through.
 * @param device who asks.
 * @param shape of the bank, which bounds what is put together in memory.
 * @param files of pieces that outlive this process; as much is kept of them there as in memory.
 */
internal class Fetcher(
    private val versions: Versions,
    private val link: Link,
    private val device: String,
    shape: BankShape,
    private val files: PieceFiles,
) {
    private val sizes = shape.ids().map { 4 * shape.size(it) }
    private val most = maxOf(sizes.maxOrNull()!!, MEMBERS_LIMIT) // a list of a round under masks comes as a blob, too
    private val assembler = Assembler(limit = 2 * maxOf(sizes.sumOf(Int::toLong), most.toLong()), bodyLimit = most)
    private val kept = HashMap<String, Set<Int>>() // pieces in files, by blob
    private val asked = LinkedHashSet<String>()
    private val leaving = LinkedHashSet<String>() // came, or nobody wants them any more, and still listened to

    /** When to ask for the rest if nothing more comes; 0: as timers say. */
    var againSeconds = 0.0

    /** Whether blobs that came are still listened to. */
    val listens: Boolean get() = leaving.isNotEmpty()

    /** Whether pieces of blobs are here that are not complete. */
    val partial: Boolean get() = assembler.heldBytes > 0

    init {
        takeUp()
    }

    /** Digest of the last Want, which a verdict that refuses it names. */
    var wantDigest = ByteArray(0)
        private set

    /** Returns what to fetch for the newest version and [others] (digests of versions), each once, in hex. */
    fun wanted(others: List<ByteArray>): List<String> =
        (listOf(versions.newest) + others.map(versions::find)).filterNotNull().flatMap(versions::wanted).distinct()

    /**
     * Asks for what was not asked for yet; stops listening for what nobody wants any more. True when it asked.
     *
     * @param again ask for all of it: of a gateway that just met this device, or when answers stayed away.
     */
    fun ask(wanted: List<String>, again: Boolean = false): Boolean {
        val unwanted = asked - wanted.toSet()
        if (unwanted.isNotEmpty()) {
            asked -= unwanted
            leaving += unwanted
            release()
        }
        kept.keys.filterNot(wanted.toSet()::contains).forEach(::forget)
        if (again) asked.clear()
        val fresh = wanted.filterNot(asked::contains).take(ASKED_LIMIT - asked.size)
        if (fresh.isEmpty()) return false
        asked += fresh
        leaving -= fresh.toSet()
        againSeconds = 0.0
        val want = Want.newBuilder().setWireVersion(WIRE_VERSION).setDevice(device)
            .addAllDigests(fresh.map { fromHex(it).asField() }).addAllMissing(missing(fresh)).build().toByteArray()
        wantDigest = sha256(want)
        link.request(fresh, want)
        return true
    }

    /**
     * Takes a chunk from the blob topic [name]; true when it belongs to a blob that was asked for.
     *
     * @throws org.edgeexperts.wire.WireException when the bytes are no chunk, or do not fit those before.
     */
    fun take(name: String, payload: ByteArray): Boolean {
        val chunk = MessageKind.CHUNK.decode(payload)
        val digest = chunk.digest.toByteArray()
        if (chunk.kind != Kind.BLOB || hex(digest) != name || name !in asked) return false
        val before = assembler.unfinished(SENDER, digest)
        if (before != null && (before.count != chunk.count || before.total != chunk.total)) forget(name) // cut otherwise now
        val body = try {
            assembler.add(SENDER, chunk)
        } catch (error: WireException) {
            forget(name)
            throw error
        }
        if (body != null) {
            versions.keep(digest, body)
            forget(name)
            asked -= name
            leaving += name
            if (asked.isEmpty() || leaving.size >= RELEASE_AT) release()
        }
        return true
    }

    /** Writes down the pieces that came of blobs that are asked for, so that a restart asks for the rest. */
    fun save() {
        for (name in asked) {
            val body = assembler.unfinished(SENDER, fromHex(name)) ?: continue
            val fresh = (body.pieces.keys - kept[name].orEmpty()).sorted()
            if (fresh.isEmpty()) continue
            files.add(fromHex(name), body, fresh)
            kept[name] = kept[name].orEmpty() + fresh
        }
    }

    /** Stops listening for what came and what nobody wants any more. */
    fun release() {
        if (leaving.isEmpty()) return
        link.release(leaving.toSet())
        leaving.clear()
    }

    /** Returns which chunks lack of each blob; nothing where all of all do. */
    private fun missing(names: List<String>) = names.map { assembler.unfinished(SENDER, fromHex(it)) }
        .let { bodies -> if (bodies.all { it == null }) emptyList() else bodies }
        .map { (it?.missing ?: ByteArray(0)).asField() }

    private fun forget(name: String) {
        assembler.forget(SENDER, fromHex(name))
        if (kept.remove(name) != null) files.remove(fromHex(name))
    }

    /** Reads the pieces that an earlier process kept; the last of a blob is left out, since it completes it. */
    private fun takeUp() {
        for (chunk in files.take(sizes.sumOf(Int::toLong) + MESSAGE_LIMIT)) {
            val digest = chunk.digest.toByteArray()
            if (chunk.count - 1 <= (assembler.unfinished(SENDER, digest)?.pieces?.size ?: 0)) continue
            try {
                assembler.add(SENDER, chunk)
            } catch (_: WireException) {
                forget(hex(digest))
                continue
            }
            kept[hex(digest)] = kept[hex(digest)].orEmpty() + chunk.index
        }
    }
}
