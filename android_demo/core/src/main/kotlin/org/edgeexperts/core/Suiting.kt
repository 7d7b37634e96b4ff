package org.edgeexperts.core

import org.edgeexperts.wire.Tier
import org.edgeexperts.wire.holds

/** Texts at the beginning of the data that a tier is chosen by. */
private const val SAMPLE_TEXTS = 256

/**
 * Returns the tiers without those that have more rows than the texts need, in their order: more rows cost more. Smaller ones
 * stay, since memory and heat may ask for them. The rule is the contract's (SPEC.md, "Packing"), so devices with the same
 * texts choose alike; as edge_runtime/training/capacity.py.
 *
 * @param counts gives the tokens of the first texts, uncut or cut at the longest S; asked only where it matters.
 */
internal fun suiting(tiers: List<Tier>, counts: () -> List<Int>): List<Tier> {
    val alike = tiers.groupBy { listOf(it.trainedSlots, it.frozenSlots, it.seqLen, it.batchSize, it.layers) }.values
    if (alike.all { it.size == 1 }) return tiers
    val texts = counts()
    val suited = alike.flatMap { group ->
        val most = (group.filter { holds(texts, capacityOf(it)) }.minByOrNull(Tier::rows) ?: group.maxBy(Tier::rows)).rows
        group.filter { it.rows <= most }
    }
    return tiers.filter(suited::contains)
}

/** Returns the tokens of the first texts of the data, at most [length] each. */
internal fun firstLengths(source: ExampleSource, tokenizer: Tokenizer, length: Int): List<Int> =
    List(minOf(SAMPLE_TEXTS, source.size)) { tokenizer.ids(source.text(it), length).size }
