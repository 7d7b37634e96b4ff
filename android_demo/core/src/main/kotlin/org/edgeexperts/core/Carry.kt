/**
 * What training has learned so far, apart from the tier it is trained in: how it starts, and how it moves on.
 *
 * Axes: L adapted layers, k of them that a tier trains (from the top), m trained slots, H held slots, P values of an expert; a
 * plan needs n slots in the top d layers. [place] puts a plan's experts into the first slots, in the same order for every
 * tier. So the first n trained slots of the top d layers, with their shared experts, the head and all moments, are the whole
 * of what was learned; everything else is the bank's. Carried over to any tier with at least n slots and d layers, it is
 * the same to the bit.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.MEAN
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.sharedExpert

private val BY_SLOT = setOf(Ports.TRAINED) + Ports.moments(Ports.TRAINED)
private val BY_LAYER = BY_SLOT + Ports.SHARED + Ports.moments(Ports.SHARED)

/** Float tensors by name. */
internal typealias Floats = Map<String, TensorValue.Floats>

/** Returns the bank's tensors as a training method takes them: trained, and where the program has them frozen, ... */
internal fun bankInputs(bank: Bank, slots: Slots): Floats {
    val shape = bank.shape
    val (layers, cut) = slots.layers(shape) to slots.tier.trainedSlots.toInt()
    fun experts(from: Int, to: Int) = floatsOf(
        joined(slots.held.flatMapIndexed { row, held -> (from until to).map { bank.block(expert(layers[row], held[it])) } }),
        layers.size, to - from, shape.expertSize,
    )
    val held = slots.held[0].size
    return buildMap {
        put(Ports.TRAINED, experts(0, cut))
        if (held > cut) put(Ports.FROZEN, experts(cut, held))
        putAll(commonInputs(bank, layers))
    }
}

/** Returns head, mean and the shared experts of [layers], as far as the bank has them. */
internal fun commonInputs(bank: Bank, layers: List<Long> = bank.shape.layers): Floats = buildMap {
    val shape = bank.shape
    if (shape.labels > 0) {
        put(Ports.HEAD, floatsOf(bank.block(HEAD), shape.headSize))
        put(Ports.MEAN, floatsOf(bank.block(MEAN), shape.meanSize))
    }
    if (shape.sharedSize > 0) put(Ports.SHARED, sharedOf(bank, layers))
}

private fun sharedOf(bank: Bank, layers: List<Long>) =
    floatsOf(joined(layers.map { bank.block(sharedExpert(it.toInt())) }), layers.size, bank.shape.sharedSize)

/**
 * Returns what a trunk runs below the top k layers: every expert [L - k, M, P] and shared expert [L - k, Ps]; nothing where
 * all layers are trained.
 */
internal fun lowerInputs(bank: Bank, layers: Int): Floats {
    val shape = bank.shape
    val below = shape.layers.dropLast(layers)
    if (below.isEmpty()) return emptyMap()
    val experts = shape.experts.toInt()
    val all = joined(below.flatMap { layer -> (0 until experts).map { bank.block(expert(layer, it)) } })
    val shared = if (shape.sharedSize > 0) mapOf(Ports.LOWER_SHARED to sharedOf(bank, below)) else emptyMap()
    return shared + (Ports.LOWER_EXPERTS to floatsOf(all, below.size, experts, shape.expertSize))
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

/** Returns the part of a method's values that training has made, in the shapes that all tiers share: d layers, n slots. */
internal fun learned(values: Floats, need: Need): Floats = Ports.LEARNED.filter(values::containsKey).associateWith { name ->
    val value = values.getValue(name)
    if (name !in BY_LAYER) return@associateWith value
    val row = value.values.size / value.layers
    val size = if (name in BY_SLOT) need.slots * value.shape[2].toInt() else row
    val cut = FloatArray(need.layers * size)
    val first = value.layers - need.layers
    for (layer in 0 until need.layers) {
        val from = (first + layer) * row
        value.values.copyInto(cut, layer * size, from, from + size)
    }
    TensorValue.Floats(sharedShape(name, value, need), cut)
}

private val TensorValue.layers get() = shape[0].toInt()

private fun sharedShape(name: String, value: TensorValue, need: Need): LongArray {
    val shape = value.shape.copyOf()
    shape[0] = need.layers.toLong()
    if (name in BY_SLOT) shape[1] = need.slots.toLong()
    return shape
}

/**
 * Returns the values of a method in whose slots training goes on.
 *
 * @param kept what was [learned].
 * @param bank that training started from.
 * @param slots of the tier to go on in, with room for what was kept.
 */
internal fun carried(kept: Floats, bank: Bank, slots: Slots): Floats =
    startValues(bank, slots).mapValues { (name, value) -> kept[name]?.let { putUpper(name, it, value) } ?: value }

private fun putUpper(name: String, kept: TensorValue.Floats, value: TensorValue.Floats): TensorValue.Floats {
    if (name !in BY_LAYER) return kept
    val (size, row) = kept.values.size / kept.layers to value.values.size / value.layers
    val first = value.layers - kept.layers
    val whole = value.values.copyOf()
    for (layer in 0 until kept.layers) {
        kept.values.copyInto(whole, (first + layer) * row, layer * size, (layer + 1) * size)
    }
    return TensorValue.Floats(value.shape, whole)
}

/** Returns the values of the planned blocks after training, from a method's outputs. */
internal fun trainedBlocks(train: Iterable<ExpertId>, bank: Bank, slots: Slots, values: Floats): Map<ExpertId, FloatArray> {
    val shape = bank.shape
    fun part(name: String, place: Int, size: Int) =
        values.getValue(name).values.copyOfRange(place * size, (place + 1) * size)
    val layers = slots.layers(shape)
    return train.toSortedSet().associateWith { block ->
        val row = layers.indexOf(block.layer.toLong())
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
