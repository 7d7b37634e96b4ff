/**
 * Integers modulo 2^b: what is added under masks, the masks, and how they are packed.
 *
 * Sums are taken in words of 32 bits; what is above b falls away when they are packed. A mask is the stream of AES-256
 * in counter mode (counter from 0) under its seed, as little-endian words of 16 bits for b <= 16, else of 32.
 */
package org.edgeexperts.wire.secure

import java.nio.ByteBuffer
import java.nio.ByteOrder
import javax.crypto.Cipher
import javax.crypto.spec.IvParameterSpec
import javax.crypto.spec.SecretKeySpec
import kotlin.math.min
import org.edgeexperts.wire.SecureException

private const val PIECE = 1 shl 14 // values that a mask is made of at once

private const val BLOCK_BYTES = 16

internal const val LEAST_BITS = 8
internal const val MOST_BITS = 32

/** Returns the stream of AES-256 in counter mode from 0, which [key] begins. */
internal fun streamOf(key: ByteArray): Cipher = Cipher.getInstance("AES/CTR/NoPadding").apply {
    init(Cipher.ENCRYPT_MODE, SecretKeySpec(key, "AES"), IvParameterSpec(ByteArray(BLOCK_BYTES)))
}

/**
 * Integers modulo 2^[bits].
 *
 * @property bits 8 to 32.
 * @throws SecureException for others.
 */
public class Ring(public val bits: Int) {
    init {
        if (bits !in LEAST_BITS..MOST_BITS) throw SecureException("a ring of $bits bits, expected $LEAST_BITS to $MOST_BITS")
    }

    private val mask = (1L shl bits) - 1

    private val wordBytes = if (bits <= 16) 2 else 4

    /** Returns [word] as the integer from 0 to 2^b - 1 that it stands for. */
    public fun unsigned(word: Int): Long = word.toLong() and mask

    /** Adds the mask of a [seed] of 32 bytes to [words], or takes it off when it is [negative]; in place. */
    public fun addMask(words: IntArray, seed: ByteArray, negative: Boolean = false) {
        val stream = streamOf(seed)
        val zeros = ByteArray(min(words.size, PIECE) * wordBytes)
        for (start in words.indices step PIECE) {
            val end = min(words.size, start + PIECE)
            val piece = stream.update(zeros, 0, (end - start) * wordBytes) ?: ByteArray(0)
            // A provider may keep back what is no whole block: the last piece is finished.
            val rest = if (end == words.size) stream.doFinal() else ByteArray(0)
            add(words, start, end, ByteBuffer.wrap(piece + rest).order(ByteOrder.LITTLE_ENDIAN), negative)
        }
    }

    private fun add(words: IntArray, start: Int, end: Int, stream: ByteBuffer, negative: Boolean) {
        val sign = if (negative) -1 else 1
        if (wordBytes == 2) {
            for (place in start until end) words[place] += sign * stream.getShort()
        } else {
            for (place in start until end) words[place] += sign * stream.getInt()
        }
    }

    /** Returns values in b bits each: value i from bit i b on, bit j of all in byte j / 8, the lowest bit first. */
    public fun pack(words: IntArray): ByteArray {
        val data = ByteArray(((words.size.toLong() * bits + 7) / 8).toInt())
        var kept = 0L
        var count = 0
        var place = 0
        for (word in words) {
            kept = kept or (unsigned(word) shl count)
            count += bits
            while (count >= 8) {
                data[place++] = kept.toByte()
                kept = kept ushr 8
                count -= 8
            }
        }
        if (count > 0) data[place] = kept.toByte()
        return data
    }
}
