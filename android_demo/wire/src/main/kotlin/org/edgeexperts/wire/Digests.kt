/** Digests: SHA-256 over bytes that both sides hold, never over a message that was parsed and written again. */
package org.edgeexperts.wire

import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

private const val PIECE = 1 shl 16

/** Returns the 32-byte digest of [data]. */
public fun sha256(data: ByteArray): ByteArray = MessageDigest.getInstance("SHA-256").digest(data)

/** Returns the digest of what is left in a stream, read in pieces; [copy] sees every piece (bytes, count). */
public fun sha256(stream: InputStream, copy: (ByteArray, Int) -> Unit = { _, _ -> }): ByteArray {
    val digest = MessageDigest.getInstance("SHA-256")
    val piece = ByteArray(PIECE)
    while (true) {
        val size = stream.read(piece)
        if (size < 0) return digest.digest()
        digest.update(piece, 0, size)
        copy(piece, size)
    }
}

/** Returns bytes as lower-case hexadecimal. */
public fun hex(data: ByteArray): String {
    val digits = "0123456789abcdef"
    val text = StringBuilder(2 * data.size)
    for (byte in data) {
        text.append(digits[byte.toInt() shr 4 and 15]).append(digits[byte.toInt() and 15])
    }
    return text.toString()
}

/** Returns the bytes that [hex] wrote as [text]. */
public fun unhex(text: String): ByteArray = text.chunked(2) { it.toString().toInt(16).toByte() }.toByteArray()

/** Returns the digest of a version: over (layer u32, index u32, block digest), little-endian, ascending. */
public fun versionDigest(blocks: Map<ExpertId, ByteArray>): ByteArray {
    val record = ByteBuffer.allocate((8 + DIGEST_BYTES) * blocks.size).order(ByteOrder.LITTLE_ENDIAN)
    for (block in blocks.keys.sorted()) {
        record.putInt(block.layer).putInt(block.index).put(blocks.getValue(block))
    }
    return sha256(record.array())
}
