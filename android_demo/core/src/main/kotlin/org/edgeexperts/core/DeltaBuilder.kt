/**
 * What training changed, block by block, as the wire carries it; and what a lossy codec left behind.
 *
 * Error feedback (Seide et al. 2014; Karimireddy et al., arXiv 1901.09847): what rounding dropped from a block is added
 * to that block's next delta, so that over rounds nothing is lost. Axes: k adapted layers of a tier, H held slots, C labels.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.Delta
import org.edgeexperts.wire.ExpertDelta
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.ExpertUse
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.NamedTensor
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.decodeValues
import org.edgeexperts.wire.encodeValues

/**
 * Which work a delta answers.
 *
 * @property planDigest over the plan's bytes as received.
 * @property codec number of the codec that the plan asks for.
 */
public class Origin(
    public val device: String,
    public val planDigest: ByteArray,
    public val round: Long,
    public val baseVersion: Long,
    public val codec: Int,
)

/**
 * What a training run gave.
 *
 * @property blocks values of the plan's blocks after the last step.
 * @property examples different examples that were trained on.
 * @property labelCounts [C] of these examples.
 * @property losses one for each step.
 * @property stepMs median.
 * @property routed [k, H] tokens by slot.
 * @property seen [k, H] tokens that passed while the expert was held.
 */
public class Outcome(
    public val blocks: Map<ExpertId, FloatArray>,
    public val examples: Int,
    public val labelCounts: FloatArray,
    public val losses: List<Double>,
    public val stepMs: Double,
    public val routed: List<FloatArray>,
    public val seen: List<FloatArray>,
) {
    private val fifth get() = maxOf(1, losses.size / 5)

    /** Mean loss of the first fifth of the steps (at least one). */
    public val lossFirst: Double get() = losses.take(fifth).average()

    /** Mean loss of the last fifth. */
    public val lossLast: Double get() = losses.takeLast(fifth).average()
}

/**
 * A delta to send.
 *
 * @property body its bytes.
 * @property residuals of each block in it; all zero with float32.
 */
public class BuiltDelta(public val body: ByteArray, public val residuals: Map<ExpertId, FloatArray>)

/**
 * Returns a delta.
 *
 * @param origin the plan it answers.
 * @param base the bank that training started from.
 * @param slots where the experts sat.
 * @param outcome of the training.
 * @param residuals of earlier deltas, by block; those of other blocks are left alone.
 * @param topk whether tokens are routed, so that use is told.
 * @throws org.edgeexperts.wire.WireException NOT_FINITE when training diverged.
 */
public fun buildDelta(
    origin: Origin,
    base: Bank,
    slots: Slots,
    outcome: Outcome,
    residuals: Map<ExpertId, FloatArray>,
    topk: Boolean,
): BuiltDelta {
    val left = LinkedHashMap<ExpertId, FloatArray>()
    val message = Delta.newBuilder()
        .setWireVersion(WIRE_VERSION)
        .setDevice(origin.device)
        .setPlanDigest(origin.planDigest.asField())
        .setRound(origin.round)
        .setBaseVersion(origin.baseVersion)
        .setExamples(outcome.examples)
        .setCodecValue(origin.codec)
        .setLossFirst(outcome.lossFirst.toFloat())
        .setLossLast(outcome.lossLast.toFloat())
        .setStepMs(outcome.stepMs.toFloat())
        .setSteps(outcome.losses.size)
    for (block in outcome.blocks.keys.sorted()) {
        val change = change(outcome.blocks.getValue(block), base.block(block), residuals[block])
        val values = encodeValues(change, origin.codec)
        val arrived = decodeValues(values, change.size.toLong(), origin.codec)
        left[block] = FloatArray(change.size) { change[it] - arrived[it] }
        message.addExperts(
            ExpertDelta.newBuilder().setLayer(block.layer).setIndex(block.index).setValues(values.asField()),
        )
    }
    if (topk) message.addAllUse(uses(base.shape, slots, outcome))
    if (HEAD in outcome.blocks) message.addAllLabelCounts(outcome.labelCounts.asIterable())
    return BuiltDelta(message.build().toByteArray(), left)
}

internal fun change(trained: FloatArray, base: FloatArray, residual: FloatArray?): FloatArray =
    FloatArray(trained.size) { place ->
        val moved = trained[place] - base[place]
        if (residual == null) moved else moved + residual[place]
    }

/** Lists every held expert: the gateway needs the use of those that were not trained too. */
private fun uses(shape: BankShape, slots: Slots, outcome: Outcome): List<ExpertUse> {
    val uses = slots.layers(shape).flatMapIndexed { row, layer ->
        slots.held[row].mapIndexed { slot, index ->
            val seen = outcome.seen[row][slot]
            ExpertUse.newBuilder().setLayer(layer.toInt()).setIndex(index)
                .setRouted(minOf(outcome.routed[row][slot], seen)).setSeen(seen).build()
        }
    }
    return uses.sortedWith(compareBy(ExpertUse::getLayer, ExpertUse::getIndex))
}

/** Returns residuals under names a store can hold; a block without any residual is left out. */
public fun packResiduals(residuals: Map<ExpertId, FloatArray>): Map<String, NamedTensor> =
    residuals.filterValues { values -> values.any { it != 0f } }
        .entries.associate { (block, values) -> "${block.layer}.${block.index}" to NamedTensor.of(values) }

/** Reads [packResiduals]; what does not fit the bank is left out. */
public fun unpackResiduals(tensors: Map<String, NamedTensor>, shape: BankShape): Map<ExpertId, FloatArray> {
    val blocks = shape.ids().associateBy { "${it.layer}.${it.index}" }
    return tensors.entries.mapNotNull { (name, tensor) ->
        val block = blocks[name]
        val fits = block != null && tensor.dtype == "F32" && tensor.shape == listOf(shape.size(block).toLong())
        if (fits) block to tensor.floats() else null
    }.toMap()
}
