/**
 * What training has learned so far, apart from the tier it is trained in: how it starts, and how it moves on.
 *
 * Axes: L adapted layers, m trained slots, H held slots, P values of an expert, n slots that the plan needs. [place] puts
 * a plan's experts into the first slots, in the same order for every tier. So the first n trained slots, with the shared
 * experts, the head and all moments, are the whole of what was learned; everything else is the bank's. Carried over to
 * any tier with at least n slots, it is the same to the bit.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.MEAN
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.sharedExpert

private val BY_SLOT = setOf(Ports.TRAINED) + Ports.moments(Ports.TRAINED)

/** Float tensors by name. */
internal typealias Floats = Map<String, TensorValue.Floats>

/** Returns the bank's tensors as a training method takes them: trained, and where the program has them frozen, ... */
internal fun bankInputs(bank: Bank, slots: Slots): Floats {
    val shape = bank.shape
    val (rows, cut) = shape.layers.size to slots.tier.trainedSlots.toInt()
    fun experts(from: Int, to: Int) = floatsOf(
        joined(slots.held.flatMapIndexed { row, held -> (from until to).map { bank.block(expert(shape.layers[row], held[it])) } }),
        rows, to - from, shape.expertSize,
    )
    val held = slots.held[0].size
    return buildMap {
        put(Ports.TRAINED, experts(0, cut))
        if (held > cut) put(Ports.FROZEN, experts(cut, held))
        putAll(commonInputs(bank))
    }
}

/** Returns head, mean and shared experts, as far as the bank has them. */
internal fun commonInputs(bank: Bank): Floats = buildMap {
    val shape = bank.shape
    if (shape.labels > 0) {
        put(Ports.HEAD, floatsOf(bank.block(HEAD), shape.headSize))
        put(Ports.MEAN, floatsOf(bank.block(MEAN), shape.meanSize))
    }
    if (shape.sharedSize > 0) {
        val all = joined(shape.layers.map { bank.block(sharedExpert(it.toInt())) })
        put(Ports.SHARED, floatsOf(all, shape.layers.size, shape.sharedSize))
    }
}

internal fun expert(layer: Long, index: Int): ExpertId = ExpertId(layer.toInt(), index)

internal fun joined(parts: List<FloatArray>): FloatArray {
    val whole = FloatArray(parts.sumOf { it.size })
    parts.fold(0) { offset, part ->
        part.copyInto(whole, offset)
        offset + part.size
    }
    return whole
}

/** Returns a method's values before the first step: the bank's, and moments of zero. */
internal fun startValues(bank: Bank, slots: Slots): Floats {
    val values = bankInputs(bank, slots)
    val moments = Ports.TRAINABLE.filter(values::containsKey).flatMap { name ->
        val like = values.getValue(name)
        Ports.moments(name).map { it to TensorValue.Floats(like.shape, FloatArray(like.values.size)) }
    }
    return values + moments
}

/** Returns the part of a method's values that training has made, in the shapes that all tiers share: n slots. */
internal fun learned(values: Floats, needed: Int): Floats =
    Ports.LEARNED.filter(values::containsKey).associateWith { name -> firstSlots(name, values.getValue(name), needed) }

private fun firstSlots(name: String, value: TensorValue.Floats, needed: Int): TensorValue.Floats {
    if (name !in BY_SLOT) return value
    val (layers, slots, size) = value.shape.map(Long::toInt)
    val cut = FloatArray(layers * needed * size)
    for (layer in 0 until layers) {
        val from = layer * slots * size
        value.values.copyInto(cut, layer * needed * size, from, from + needed * size)
    }
    return floatsOf(cut, layers, needed, size)
}

/**
 * Returns the values of a method in whose slots training goes on.
 *
 * @param kept what was [learned].
 * @param bank that training started from.
 * @param slots of the tier to go on in, with room for what was kept.
 */
internal fun carried(kept: Floats, bank: Bank, slots: Slots): Floats =
    startValues(bank, slots).mapValues { (name, value) -> kept[name]?.let { putFirst(name, it, value) } ?: value }

private fun putFirst(name: String, kept: TensorValue.Floats, value: TensorValue.Floats): TensorValue.Floats {
    if (name !in BY_SLOT) return kept
    val (layers, slots, size) = value.shape.map(Long::toInt)
    val needed = kept.shape[1].toInt()
    val whole = value.values.copyOf()
    for (layer in 0 until layers) {
        val from = layer * needed * size
        kept.values.copyInto(whole, layer * slots * size, from, from + needed * size)
    }
    return TensorValue.Floats(value.shape, whole)
}

/** Returns the values of the planned blocks after training, from a method's outputs. */
internal fun trainedBlocks(train: Iterable<ExpertId>, bank: Bank, slots: Slots, values: Floats): Map<ExpertId, FloatArray> {
    val shape = bank.shape
    fun part(name: String, place: Int, size: Int) =
        values.getValue(name).values.copyOfRange(place * size, (place + 1) * size)
    return train.toSortedSet().associateWith { block ->
        val row = shape.layers.indexOf(block.layer.toLong())
        when {
            block == HEAD -> part(Ports.HEAD, 0, shape.headSize)
            block.shared -> part(Ports.SHARED, row, shape.sharedSize)
            else -> {
                val slot = slots.held[row].indexOf(block.index)
                part(Ports.TRAINED, row * slots.tier.trainedSlots.toInt() + slot, shape.expertSize)
            }
        }
    }
}
