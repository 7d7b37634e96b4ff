/**
 * What training changed under a plan that asks for masks, as integers, until it is known who dealt shares; as
 * edge_runtime/federation/unmasked.py.
 *
 * On disk it is the record `unmasked`: integers of each circle, what rounding left of each block as float32, and in its head
 * which plan it answers. Noise is in these integers before they are written, and they are written before anything is sent: a kill
 * draws no second noise for an update of which anybody has seen the first.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.Delta
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.MaskTerms
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.decodeValues
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.secure.Terms
import java.nio.ByteBuffer
import java.nio.ByteOrder

internal const val UNMASKED = "unmasked"

private const val VALUE_BYTES = 4

/**
 * A trained plan without its masks.
 *
 * @property origin which plan.
 * @property values integers by circle.
 * @property left what rounding left of each block.
 * @property steps that were made.
 * @property stepMs median.
 */
internal class Unmasked(
    val origin: Origin,
    val values: Map<Int, IntArray>,
    val left: Map<ExpertId, FloatArray>,
    private val steps: Int,
    private val stepMs: Double,
) {
    /** Digest of the plan's message, in hex. */
    val planDigest: String get() = hex(origin.planDigest)

    /**
     * Returns the Delta under masks.
     *
     * @throws org.edgeexperts.wire.SecureException when it cannot be masked.
     */
    fun delta(masks: Masks): ByteArray {
        val (members, masked) = masks.masked(values)
        return Delta.newBuilder()
            .setWireVersion(WIRE_VERSION)
            .setDevice(origin.device)
            .setPlanDigest(origin.planDigest.asField())
            .setRound(origin.round)
            .setBaseVersion(origin.baseVersion)
            .setExamples(1) // how many there were is under the masks
            .setCodecValue(origin.codec)
            .setStepMs(stepMs.toFloat())
            .setSteps(steps)
            .setMembers(members.asField())
            .addAllMasked(masked)
            .build().toByteArray()
    }

    /** Returns it as it is kept. */
    fun record(): Record {
        val head = mapOf(
            "device" to origin.device, "plan" to planDigest, "round" to origin.round, "base" to origin.baseVersion,
            "codec" to origin.codec.toLong(), "steps" to steps.toLong(), "step_ms" to stepMs,
            "circles" to values.map { (number, said) -> listOf(number.toLong(), said.size.toLong()) },
            "blocks" to left.map { (block, rest) -> listOf(block.layer.toLong(), block.index.toLong(), rest.size.toLong()) },
        )
        val parts = values.values.map(::encodeIntegers) + left.values.map { encodeValues(it) }
        return Record(head, parts.fold(ByteArray(0), ByteArray::plus))
    }

    companion object {
        /**
         * Returns what training came to.
         *
         * @param origin which plan.
         * @param masks what it says of masks.
         * @param base bank that training started from.
         * @param outcome of the training.
         * @param residuals of earlier deltas, by block.
         * @param classSums of the device's data, which a circle may ask for; null: it has no examples with labels.
         * @param seed 32 random bytes, that noise follows from where the plan asks for it: for this plan alone, and forgotten.
         * @throws org.edgeexperts.wire.SecureException when training diverged, or class sums are none.
         */
        fun of(
            origin: Origin,
            masks: MaskTerms,
            base: Bank,
            outcome: Outcome,
            residuals: Map<ExpertId, FloatArray>,
            classSums: ClassSums?,
            seed: ByteArray,
        ): Unmasked {
            fun change(block: ExpertId) = change(outcome.blocks.getValue(block), base.block(block), residuals[block])
            val (terms, left) = Terms(masks) to LinkedHashMap<ExpertId, FloatArray>()
            if (terms.private) {
                val noised = terms.noised(outcome.blocks.keys.sorted().associateWith(::change), base.shape, seed)
                return Unmasked(origin, noised.values, noised.left, outcome.losses.size, outcome.stepMs)
            }
            val values = terms.circles.mapValues { (number, blocks) ->
                terms.ofClasses(number)?.integers(classSums, base.shape) ?: blocks.map { block ->
                    val scaled = terms.integers(block, change(block), outcome.examples, outcome.labelCounts)
                    left[block] = scaled.left
                    scaled.integers
                }.reduce(IntArray::plus)
            }
            return Unmasked(origin, values, left, outcome.losses.size, outcome.stepMs)
        }

        /** Returns what an earlier process left; null when there is none. */
        fun recall(store: Store): Unmasked? = store.recall(UNMASKED)?.let { record ->
            val head = record.head
            fun rows(name: String) = (head[name] as List<*>).map { row -> (row as List<*>).map { (it as Long).toInt() } }
            var start = 0
            fun next(size: Int) = record.body.copyOfRange(start, start + VALUE_BYTES * size).also { start += it.size }
            val values = rows("circles").associate { (number, size) -> number to decodeIntegers(next(size)) }
            val left = rows("blocks").associate { (layer, index, size) ->
                ExpertId(layer, index) to decodeValues(next(size), size.toLong())
            }
            val origin = Origin(
                head["device"] as String, fromHex(head["plan"] as String), head["round"] as Long, head["base"] as Long,
                (head["codec"] as Long).toInt(),
            )
            Unmasked(origin, values, left, (head["steps"] as Long).toInt(), head["step_ms"] as Double)
        }
    }
}

/** Returns integers as bytes: 32 bits each, little-endian. */
internal fun encodeIntegers(integers: IntArray): ByteArray = ByteBuffer.allocate(VALUE_BYTES * integers.size)
    .order(ByteOrder.LITTLE_ENDIAN).also { it.asIntBuffer().put(integers) }.array()

private fun decodeIntegers(data: ByteArray) = IntArray(data.size / VALUE_BYTES)
    .also { ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(it) }
