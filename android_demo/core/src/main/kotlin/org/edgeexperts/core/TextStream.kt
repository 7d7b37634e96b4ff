/**
 * The texts of a run as one stream: epochs laid end to end, cut into steps where the contract's packing says; as
 * edge_runtime/data/stream.py.
 *
 * Axes: N examples, B texts of a step at most, C labels. A step begins with the entry after the last that the step before
 * took, so where a run stands is one number, and a resumed run goes on with the same steps.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.epochOrder

/**
 * Which example each entry of a run is. It follows from (seed, entry) alone.
 *
 * @param count N.
 */
internal class EntryOrder(private val seed: Long, private val count: Int) {
    private var epoch = -1L
    private var order = IntArray(0)

    /** Returns the row of an entry, counted from 0. */
    fun row(entry: Long): Int {
        val wanted = entry / count
        if (wanted != epoch) {
            epoch = wanted
            order = epochOrder(seed, wanted, count)
        }
        return order[(entry % count).toInt()]
    }
}

/**
 * One step's texts.
 *
 * @property inputs by name.
 * @property texts entries of the stream that it takes.
 * @property tokens of these.
 */
internal class StepTexts(val inputs: Tensors, val texts: Int, val tokens: Int)

/** A text as a step takes it: its ids, or its prefix in a tier that starts above a trunk. */
private class Text(val row: Int, val count: Int, val ids: LongArray?, val prefix: Prefix?)

/**
 * Reads a run's texts step by step; what was read and not taken yet waits for the next step.
 *
 * @param order of the entries.
 * @param labels C.
 * @param capacity of a step; texts are cut at its S.
 * @param trunk of a tier that starts above a frozen prefix.
 */
internal class TextStream(
    private val source: ExampleSource,
    private val tokenizer: Tokenizer,
    private val order: EntryOrder,
    private val labels: Int,
    private val capacity: Capacity,
    private val trunk: Trunk?,
) {
    private var ahead = emptyMap<Long, Text>()

    /** Returns the step that begins with entry [taken], counted from 0. */
    fun step(taken: Long): StepTexts {
        val entries = (taken until taken + capacity.batch).toList()
        val unread = entries.filterNot(ahead::containsKey)
        ahead = ahead.filterKeys { it >= taken } + unread.zip(read(unread.map(order::row)))
        val texts = entries.map(ahead::getValue)
        val packed = Packed.next(texts.map(Text::count), capacity)
        return StepTexts(inputs(texts.take(packed.size), packed), packed.size, packed.tokens)
    }

    private fun read(rows: List<Int>): List<Text> {
        val texts = rows.map(source::text)
        if (trunk == null) {
            return rows.zip(texts) { row, text -> tokenizer.ids(text, capacity.sequence).let { Text(row, it.size, it, null) } }
        }
        return rows.zip(trunk.prefixes(texts, tokenizer)) { row, prefix -> Text(row, prefix.count, null, prefix) }
    }

    /** A text without tokens has no label: nothing is learned from it. */
    private fun inputs(texts: List<Text>, packed: Packed): Tensors {
        val wanted = FloatArray(capacity.batch * labels)
        packed.each { slot, _ -> wanted[slot * labels + source.labels[texts[slot].row]] = 1f }
        val said = trunk?.spread(texts.mapNotNull(Text::prefix), packed)
            ?: mapOf(Ports.IDS to packed.spread(texts.mapNotNull(Text::ids)))
        return said + packed.frame() + mapOf(
            Ports.MASK to packed.mask(),
            Ports.READOUT to packed.means(),
            Ports.LABELS to floatsOf(wanted, capacity.batch, labels),
        )
    }
}
