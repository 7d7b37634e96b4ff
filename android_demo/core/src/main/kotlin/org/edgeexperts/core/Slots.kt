/**
 * Which expert sits in which slot of a program: what a plan's blocks are to a method's tensors.
 *
 * Axes: L adapted layers, k of them that a tier trains (from the top), M experts, m trained slots, f frozen slots, H = m + f. A sum over experts knows no order, so
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
 * @property held [k, H] index of the expert in each slot.
 * @property updateMask [k, m], 1 where the plan trains the slot.
 * @property gateScale of every slot.
 */
public class Slots(
    public val tier: Tier,
    public val held: List<IntArray>,
    public val updateMask: List<FloatArray>,
    public val gateScale: Float,
) {
    /** Returns the numbers of the k layers, ascending. */
    public fun layers(shape: BankShape): List<Long> = shape.layers.takeLast(held.size)
}

/**
 * What a plan needs of a tier.
 *
 * @property slots n, trained ones, at its fullest layer.
 * @property layers adapted layers from the top down to its lowest block; 1 for the head alone.
 */
public data class Need(public val slots: Int, public val layers: Int)

/** Returns what the blocks of a plan need of a tier. */
public fun needOf(train: Iterable<ExpertId>, shape: BankShape): Need {
    val experts = train.filter { !it.shared && it.layer != RESERVED }
    return Need(experts.groupingBy { it.layer }.eachCount().values.maxOrNull() ?: 0, maxOf(1, shape.depth(train)))
}

/**
 * Gives every planned expert a trained slot, then fills the other slots with the experts that follow them.
 *
 * With soft gates and H < M, each gate is scaled by M/H, so that the sum over the held has the size of the sum over
 * all; a softmax over the held needs no scale.
 *
 * @throws PlanException for a block that the bank lacks, or that lies below the tier's layers, or more experts at a layer than
 *   trained slots.
 */
public fun place(train: Iterable<ExpertId>, architecture: Architecture, tier: Tier): Slots {
    val shape = architecture.bankShape()
    val planned = train.toSortedSet()
    planned.forEach { checkTrainable(it, shape) }
    val need = needOf(planned, shape)
    val (experts, trained, held) = Triple(shape.experts.toInt(), tier.trainedSlots.toInt(), tier.heldSlots.toInt())
    if (need.slots > trained) {
        throw PlanException(
            "the plan trains ${need.slots} experts at a layer, the program ${tier.method} has $trained slots",
        )
    }
    if (need.layers > tier.layers) {
        throw PlanException("the plan trains the top ${need.layers} layers, the program ${tier.method} has ${tier.layers} of them")
    }
    val chosen = shape.layers.takeLast(tier.layers.toInt()).map { layer ->
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
