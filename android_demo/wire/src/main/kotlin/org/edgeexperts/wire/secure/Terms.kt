/**
 * How a plan's delta goes under masks: which blocks are a circle, and how each becomes integers.
 *
 * What a device says of a circle is one vector: its blocks ascending, of each the P values and behind them the weight, of a
 * head the weights of its C rows. Weights are integers from 1 to W, of a row without examples 0; with noise all are 1. Axes: P values of a block,
 * C labels, d width. Rules: edge_runtime/wire/SPEC.md, "Rounds under masks".
 */
package org.edgeexperts.wire.secure

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.sqrt
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.CLASS_SUMS
import org.edgeexperts.wire.CircleTerms
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.MaskTerms
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.sha256

/** A device's integers by circle, with noise in [values], and what rounding [left] of each block. */
public class Noised(public val values: Map<Int, IntArray>, public val left: Map<ExpertId, FloatArray>)

/**
 * What a plan says of masks.
 *
 * @param message a plan's terms; they were checked with their plan.
 */
public class Terms(private val message: MaskTerms) {
    /** Blocks of each circle, ascending, by its number. */
    public val circles: Map<Int, List<ExpertId>> = message.circlesList.associate { circle ->
        circle.number to circle.blocksList.map { ExpertId(it.layer, it.index) }
    }

    /** Whether devices add noise. */
    public val private: Boolean = message.wholeNorm > 0

    /** Returns how the values of a circle of class sums become integers; null: it has blocks of the bank. */
    public fun ofClasses(circle: Int): ClassTerms? =
        if (circles[circle] == listOf(CLASS_SUMS)) ClassTerms(message.classStep, message.classExamples) else null

    /**
     * Returns a block as a device says it, values and weights, and what rounding left of its values, [P].
     *
     * @param block its id.
     * @param change trained values less those before, and what was left of earlier ones; [P].
     * @param examples that it was trained on.
     * @param labelCounts of a head: examples of each label, [C].
     * @throws SecureException for NaN or infinity, and a head without counts.
     */
    public fun integers(block: ExpertId, change: FloatArray, examples: Int, labelCounts: FloatArray): Integers {
        val (step, norm) = sizes(block)
        val values = cut(block, change, norm.toDouble())
        fun scale(weight: Int) = Scale(step.toDouble(), message.limit, weight, message.mostWeight)
        if (block != HEAD) {
            val weight = weight(examples.toDouble())
            val scaled = scale(weight).integers(values)
            return Integers(scaled.integers + weight, scaled.left)
        }
        if (labelCounts.isEmpty()) throw SecureException("a trained head without examples by label, the weights of its rows")
        val weights = IntArray(labelCounts.size) { if (labelCounts[it] > 0) weight(labelCounts[it].toDouble()) else 0 }
        return head(values, weights, ::scale)
    }

    /**
     * Returns what a device says of all circles, with noise, and what rounding left of each block, [P].
     *
     * @param changes as `change` of [integers], of all blocks.
     * @param shape of the bank.
     * @param seed 32 secret bytes, which serve once: who has two updates under one noise knows how they differ.
     * @throws SecureException for NaN or infinity.
     */
    public fun noised(changes: Map<ExpertId, FloatArray>, shape: BankShape, seed: ByteArray): Noised {
        val wide = changes.mapValues { (block, change) ->
            val step = sizes(block).first.toDouble()
            DoubleArray(change.size) { change[it] / step }
        }
        for ((block, part) in wide) {
            if (part.any { it.isNaN() || it.isInfinite() }) throw SecureException("block $block of a delta is not finite")
        }
        val cut = cutWhole(wide.values.toList(), message.wholeNorm, message.limit)
        val integers = wide.keys.zip(cut.parts).toMap()
        val left = wide.mapValues { (block, part) ->
            val (said, step) = integers.getValue(block) to sizes(block).first.toDouble()
            FloatArray(part.size) { ((part[it] * cut.factor - said[it]) * step).toFloat() }
        }
        return Noised(message.circlesList.associate { it.number to withNoise(it, integers, shape, seed) }, left)
    }

    /** Returns what a device says of a circle; weights get no noise, for they are the same whatever the data are. */
    private fun withNoise(
        circle: CircleTerms,
        integers: Map<ExpertId, IntArray>,
        shape: BankShape,
        seed: ByteArray,
    ): IntArray {
        val number = ByteBuffer.allocate(Int.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(circle.number).array()
        val own = sha256("noise".toByteArray() + seed + number)
        val parts = circles.getValue(circle.number).map { it to integers.getValue(it) }
        val noise = discreteGaussian(own, circle.variance, parts.sumOf { it.second.size })
        var start = 0
        return parts.map { (block, values) ->
            val said = IntArray(values.size) { values[it] + noise[start + it] }
            start += values.size
            said + IntArray(if (block == HEAD) shape.labels.toInt() else 1) { 1 }
        }.reduce(IntArray::plus)
    }

    /** Returns a head whose rows, each a row of weights and a bias, have [weights] of their own; rows of 0 say nothing. */
    private fun head(values: FloatArray, weights: IntArray, scale: (Int) -> Scale): Integers {
        val labels = weights.size
        val width = values.size / labels - 1
        val (integers, left) = IntArray(values.size) to FloatArray(values.size)
        for (row in weights.indices.filter { weights[it] > 0 }) {
            val places = (row * width until (row + 1) * width) + (labels * width + row)
            val scaled = scale(weights[row]).integers(FloatArray(places.size) { values[places[it]] })
            places.forEachIndexed { at, place ->
                integers[place] = scaled.integers[at]
                left[place] = scaled.left[at]
            }
        }
        return Integers(integers + weights, left)
    }

    private fun weight(examples: Double) =
        weightOf(examples, message.examplesPerWeight.toDouble(), message.mostWeight)

    /** Returns step and norm of a block. */
    private fun sizes(block: ExpertId): Pair<Float, Float> = when {
        block == HEAD -> message.headStep to message.headNorm
        block.shared -> message.sharedStep to message.sharedNorm
        else -> message.expertStep to message.expertNorm
    }

    /** Returns an update that is no longer than [most]. */
    private fun cut(block: ExpertId, change: FloatArray, most: Double): FloatArray {
        val length = sqrt(change.sumOf { it.toDouble() * it })
        if (length.isNaN() || length.isInfinite()) throw SecureException("block $block of a delta is not finite")
        return if (length <= most) change else FloatArray(change.size) { (change[it] * (most / length)).toFloat() }
    }
}
