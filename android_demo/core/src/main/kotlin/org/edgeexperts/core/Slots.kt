/**
 * Which expert sits in which slot of a program: what a plan's blocks are to a method's tensors.
 *
 * Axes: L adapted layers, M experts, m trained slots, f frozen slots, H = m + f. A sum over experts knows no order, so
 * any subset fits into any slots: trained first, frozen after. A trained slot that the plan leaves free holds another
 * expert with an update mask of 0, so that the model still runs whole.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Architecture
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.MEAN
import org.edgeexperts.wire.RESERVED
import org.edgeexperts.wire.Tier

/**
 * One placement.
 *
 * @property tier the program's size.
 * @property held [L, H] index of the expert in each slot.
 * @property updateMask [L, m], 1 where the plan trains the slot.
 * @property gateScale of every slot.
 */
public class Slots(
    public val tier: Tier,
    public val held: List<IntArray>,
    public val updateMask: List<FloatArray>,
    public val gateScale: Float,
)

/** Returns the trained slots that [train] needs: the most experts of one layer. */
public fun neededSlots(train: Iterable<ExpertId>): Int =
    train.filter { !it.shared && it.layer != RESERVED }.groupingBy { it.layer }.eachCount().values.maxOrNull() ?: 0

/**
 * Gives every planned expert a trained slot, then fills the other slots with the experts that follow them.
 *
 * With soft gates and H < M, each gate is scaled by M/H, so that the sum over the held has the size of the sum over
 * all; a softmax over the held needs no scale.
 *
 * @throws PlanException for a block that the bank lacks, or more experts at a layer than trained slots.
 */
public fun place(train: Iterable<ExpertId>, architecture: Architecture, tier: Tier): Slots {
    val shape = architecture.bankShape()
    val planned = train.toSortedSet()
    planned.forEach { checkTrainable(it, shape) }
    val needed = neededSlots(planned)
    val (experts, trained, held) = Triple(shape.experts.toInt(), tier.trainedSlots.toInt(), tier.heldSlots.toInt())
    if (needed > trained) {
        throw PlanException(
            "the plan trains $needed experts at a layer, the program ${tier.method} has $trained slots",
        )
    }
    val chosen = shape.layers.map { layer ->
        planned.filter { it.layer.toLong() == layer && !it.shared }.map(ExpertId::index)
    }
    return Slots(
        tier,
        chosen.map { row(it, experts, held) },
        chosen.map { FloatArray(trained) { slot -> if (slot < it.size) 1f else 0f } },
        if (architecture.gate == "topk") 1f else (experts.toDouble() / held).toFloat(),
    )
}

private fun checkTrainable(block: ExpertId, shape: BankShape) {
    if (block != MEAN && block in shape.ids()) return
    throw PlanException(
        "the plan trains $block, which this package cannot train (${shape.experts} experts, layers ${shape.layers})",
    )
}

/** Chosen experts, then those that follow the last of them, round the ring: so the company changes with the plan. */
private fun row(chosen: List<Int>, experts: Int, held: Int): IntArray {
    val start = if (chosen.isEmpty()) 0 else chosen.last() + 1
    val others = (0 until experts).map { (start + it) % experts }.filterNot(chosen::contains)
    return (chosen + others).take(held).toIntArray()
}
