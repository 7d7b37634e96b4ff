package org.edgeexperts.wire

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.sqrt
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import org.edgeexperts.wire.secure.SEED_BYTES
import org.edgeexperts.wire.secure.cutWhole
import org.edgeexperts.wire.secure.discreteGaussian

/** Noise that devices add before masking. Seeds are fixed, so that what is measured is the same in every run. */
class NoiseTest {
    private val seed = ByteArray(SEED_BYTES) { it.toByte() }

    /** Shares of small values are those of exp(-x^2 / 2V), each within five deviations; V = 1, 5 and 30. */
    @Test
    fun sharesAreThoseOfADiscreteGaussian() {
        for (variance in listOf(1L, 5L, 30L)) {
            val count = 40_000
            val drawn = discreteGaussian(seed, variance, count).toList().groupingBy { it }.eachCount()
            val weights = (-60..60).associateWith { exp(-it.toDouble() * it / (2 * variance)) }
            val whole = weights.values.sum()
            assertEquals(count, drawn.filterKeys { it in -60..60 }.values.sum())
            for ((value, weight) in weights) {
                val expected = count * weight / whole
                val away = abs(drawn.getOrDefault(value, 0) - expected)
                assertTrue(away <= 5 * sqrt(expected) + 3, "V $variance: $value came ${drawn[value]} times, expected $expected")
            }
        }
    }

    /** Mean and variance of wide noise; the same seed gives the same, another one other noise. */
    @Test
    fun wideNoiseHasItsVariance() {
        val variance = 1L shl 25
        val drawn = discreteGaussian(seed, variance, 20_000)
        val deviation = sqrt(variance.toDouble() / drawn.size)
        assertTrue(abs(drawn.average()) < 5 * deviation, "mean ${drawn.average()}")
        val measured = drawn.sumOf { it.toDouble() * it } / drawn.size
        assertTrue(abs(measured / variance - 1) < 5 * sqrt(2.0 / drawn.size), "variance $measured")
        assertContentEquals(drawn.copyOf(100), discreteGaussian(seed, variance, 100))
        assertTrue(!discreteGaussian(ByteArray(SEED_BYTES), variance, 100).contentEquals(drawn.copyOf(100)))
        assertFailsWith<SecureException> { discreteGaussian(ByteArray(31), variance, 1) }
        assertFailsWith<SecureException> { discreteGaussian(seed, variance + 1, 1) }
        assertFailsWith<SecureException> { discreteGaussian(seed, 0, 1) }
    }

    /** 3 and 4 are 5 long: they pass. What rounding made longer, or is too long, is shortened until integers are not. */
    @Test
    fun theIntegersOfAnUpdateAreAtMostItsNormLong() {
        val whole = cutWhole(listOf(doubleArrayOf(3.0), doubleArrayOf(-4.0)), norm = 5, limit = 127)
        assertEquals(listOf(3, -4) to 1.0, whole.parts.flatMap { it.toList() } to whole.factor)
        val rounded = cutWhole(listOf(DoubleArray(100) { 0.51 }), norm = 6, limit = 127) // 5.1 long, 10 when rounded
        assertEquals(List(100) { 0 }, rounded.parts.single().toList())
        assertTrue(rounded.factor < 1)
        val long = cutWhole(listOf(doubleArrayOf(1e12, 30.0)), norm = 50, limit = 100)
        assertEquals(listOf(48, 14), long.parts.single().toList()) // cut to 100, then 50/104.4 of both
    }
}
