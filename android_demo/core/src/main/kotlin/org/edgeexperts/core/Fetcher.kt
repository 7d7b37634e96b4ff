package org.edgeexperts.core

import org.edgeexperts.wire.Assembler
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.Want
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

// Blobs asked for at once: their topics must fit into one SUBSCRIBE of less than a message's size.
private const val ASKED_LIMIT = 500

// Blobs that came and are still listened to, at most: one message to the broker ends as many.
private const val RELEASE_AT = 16

/**
 * Blobs: which were asked for, which came, what to ask for next.
 *
 * @param versions where blobs go.
 * @param link to ask through.
 * @param device who asks.
 * @param shape of the bank, which bounds what is put together in memory.
 */
internal class Fetcher(
    private val versions: Versions,
    private val link: Link,
    private val device: String,
    shape: BankShape,
) {
    private val assembler = shape.ids().map { 4 * shape.size(it) }
        .let { sizes -> Assembler(limit = 2 * sizes.sumOf(Int::toLong), bodyLimit = sizes.maxOrNull()!!) }
    private val asked = LinkedHashSet<String>()
    private val leaving = LinkedHashSet<String>() // came, or nobody wants them any more, and still listened to

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
        if (again) asked.clear()
        val fresh = wanted.filterNot(asked::contains).take(ASKED_LIMIT - asked.size)
        if (fresh.isEmpty()) return false
        asked += fresh
        leaving -= fresh.toSet()
        val want = Want.newBuilder().setWireVersion(WIRE_VERSION).setDevice(device)
            .addAllDigests(fresh.map { fromHex(it).asField() }).build().toByteArray()
        wantDigest = sha256(want)
        link.request(fresh, want)
        return true
    }

    /**
     * Takes a chunk from the blob topic [name]; true when it completed a blob that was asked for.
     *
     * @throws org.edgeexperts.wire.WireException when the bytes are no chunk, or do not fit those before.
     */
    fun take(name: String, payload: ByteArray): Boolean {
        val chunk = MessageKind.CHUNK.decode(payload)
        val digest = chunk.digest.toByteArray()
        if (chunk.kind != Kind.BLOB || hex(digest) != name || name !in asked) return false
        val body = assembler.add("gateway", chunk) ?: return false
        versions.keep(digest, body)
        asked -= name
        leaving += name
        if (asked.isEmpty() || leaving.size >= RELEASE_AT) release()
        return true
    }

    private fun release() {
        link.release(leaving.toSet())
        leaving.clear()
    }
}
