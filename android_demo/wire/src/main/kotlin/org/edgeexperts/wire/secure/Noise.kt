/**
 * Noise that devices add before masking: discrete Gaussian, drawn exactly, so that a sum of integers stays one.
 *
 * P[x] is proportional to exp(-x^2 / (2 V)) at integers x, V the variance that a plan names. Sampled by rejection from a discrete
 * Laplace distribution (Canonne, Kamath and Steinke, arXiv 2004.00010, algorithms 1 to 3), in integers alone: no float is
 * rounded, so no value is likelier than it should be. Random bits are a stream of AES-256 in counter mode under a secret seed.
 */
package org.edgeexperts.wire.secure

import java.math.BigInteger
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.sqrt
import org.edgeexperts.wire.MOST_VARIANCE
import org.edgeexperts.wire.SecureException

/** Bytes of a seed. */
public const val SEED_BYTES: Int = 32

private const val PIECE_BYTES = 1 shl 13

/** From there on squares are beyond 63 bits. */
private const val FAR = 1L shl 31

/** Random integers that follow from a [seed] of 32 secret bytes, for this noise alone. */
private class Stream(seed: ByteArray) {
    private val cipher = streamOf(seed)
    private val zeros = ByteArray(PIECE_BYTES)
    private var words = next()

    private fun next() = ByteBuffer.wrap(cipher.update(zeros)).order(ByteOrder.LITTLE_ENDIAN)

    private fun word(): Long {
        if (!words.hasRemaining()) words = next()
        return words.getLong()
    }

    /** Returns an integer from 0 to [most] - 1, each as likely; [most] is 1 to 2^62. */
    fun below(most: Long): Long {
        if (most and (most - 1) == 0L) return word() and (most - 1)
        val rest = java.lang.Long.remainderUnsigned(-most, most) // 2^64 modulo most: so many words at the end are left out
        while (true) {
            val word = word()
            if (java.lang.Long.compareUnsigned(word, -rest) < 0 || rest == 0L) return java.lang.Long.remainderUnsigned(word, most)
        }
    }

    /**
     * Returns true with chance exp(-[above]/[below]); [above] is from 0 to [below].
     *
     * Coins of chance (above/below)/k, k = 1, 2, ..., until one fails; the first that fails has an odd number that often.
     */
    fun exponential(above: Long, below: Long): Boolean {
        var number = 1L
        while (below(below) < above && below(number) == 0L) number++
        return number % 2 == 1L
    }

    /** Returns true with chance exp(-[times]). */
    fun allOf(times: Long): Boolean {
        for (done in 0 until times) if (!exponential(1, 1)) return false
        return true
    }

    /** Returns an integer with P[y] proportional to exp(-|y| / [scale]). */
    fun laplace(scale: Long): Long {
        while (true) {
            val part = below(scale)
            if (!exponential(part, scale)) continue
            var run = 0L
            while (exponential(1, 1)) run++
            val value = part + scale * run
            val negative = below(2) == 1L
            if (negative && value == 0L) continue
            return if (negative) -value else value
        }
    }

    /** Returns whether to take a Laplace value: with chance exp(-(|y| t - V)^2 / (2 V t^2)). */
    fun accepts(value: Long, variance: Long, scale: Long): Boolean {
        val below = 2 * variance * scale * scale
        val away = abs(abs(value) * scale - variance)
        if (away < FAR) return allOf(away * away / below) && exponential(away * away % below, below)
        val (whole, rest) = BigInteger.valueOf(away).pow(2).divideAndRemainder(BigInteger.valueOf(below))
        return allOf(whole.toLong()) && exponential(rest.toLong(), below)
    }
}

/**
 * Returns [count] integers of noise.
 *
 * @param seed 32 secret bytes, for this noise alone.
 * @param variance V, of the distribution before it is taken at integers alone.
 * @throws SecureException for another seed, or a variance below 1 or above 2^25.
 */
public fun discreteGaussian(seed: ByteArray, variance: Long, count: Int): IntArray {
    if (seed.size != SEED_BYTES) throw SecureException("a seed of ${seed.size} bytes, expected $SEED_BYTES")
    if (variance !in 1..MOST_VARIANCE) throw SecureException("noise of variance $variance, expected 1 to $MOST_VARIANCE")
    val stream = Stream(seed)
    val scale = sqrt(variance.toDouble()).toLong() + 1 // exact: V is far below 2^52
    return IntArray(count) {
        var value = stream.laplace(scale)
        while (!stream.accepts(value, variance, scale)) value = stream.laplace(scale)
        Math.toIntExact(value)
    }
}

/** An update in integers, and [factor]: what its values were scaled by. */
internal class CutUpdate(val parts: List<IntArray>, val factor: Double)

/**
 * Returns an update in integers whose norm over all parts is at most [norm], exactly, and what it was cut by.
 *
 * Rounding could make it longer than the values were, so it is the integers that are measured, and what is too long is
 * shortened before it is rounded anew.
 *
 * @param parts values by block, in steps; finite.
 * @param norm B, up to 2^31.
 * @param limit R, of an integer's size; up to 2^20.
 */
internal fun cutWhole(parts: List<DoubleArray>, norm: Long, limit: Int): CutUpdate {
    val most = norm * norm
    val wide = parts.map { part -> DoubleArray(part.size) { part[it].coerceIn(-limit.toDouble(), limit.toDouble()) } }
    val squares = wide.sumOf { part -> part.sumOf { it * it } }
    var factor = if (squares <= most) 1.0 else sqrt(most / squares)
    while (true) {
        val rounded = wide.map { part -> IntArray(part.size) { Math.rint(part[it] * factor).toInt() } }
        val length = rounded.sumOf { part -> part.sumOf { it.toLong() * it } }
        if (length <= most) return CutUpdate(rounded, factor)
        factor *= minOf(sqrt(most.toDouble() / length), 1 - 1e-6)
    }
}
