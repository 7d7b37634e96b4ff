/** Examples to what a training method takes. Axes: N examples, B rows, S sequence length, C labels. */
package org.edgeexperts.core

import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.epochOrder

/** N labelled texts that do not change. */
public interface ExampleSource {
    /** Row of the head of each example. */
    public val labels: IntArray

    /** Changes when any example does. */
    public val digest: ByteArray

    /** N. */
    public val size: Int get() = labels.size

    /** The text of an example. */
    public fun text(row: Int): String
}

/**
 * Which examples a step trains on: shuffled epochs, laid end to end and cut into batches. A step's rows follow from
 * (seed, step) alone, so a resumed run goes on with the same batches.
 *
 * @param count N.
 * @param batch B.
 */
internal class BatchOrder(private val seed: Long, private val count: Int, private val batch: Int) {
    private var epoch = -1L
    private var order = IntArray(0)

    /** Returns the B rows of [step] (from 0). */
    fun rows(step: Int): IntArray = IntArray(batch) { row(step.toLong() * batch + it) }

    private fun row(place: Long): Int {
        val wanted = place / count
        if (wanted != epoch) {
            epoch = wanted
            order = epochOrder(seed, wanted, count)
        }
        return order[(place % count).toInt()]
    }
}

/** Returns ids and mask [B, S] of [texts], each cut to [length] or padded to it. */
internal fun encodedTexts(texts: List<String>, tokenizer: Tokenizer, length: Int): Tensors {
    val ids = LongArray(texts.size * length)
    val mask = FloatArray(texts.size * length)
    texts.forEachIndexed { row, text ->
        val encoded = tokenizer.encode(text, length)
        encoded.ids.copyInto(ids, row * length)
        encoded.mask.copyInto(mask, row * length)
    }
    val shape = longArrayOf(texts.size.toLong(), length.toLong())
    return mapOf(Ports.IDS to TensorValue.Longs(shape, ids), Ports.MASK to TensorValue.Floats(shape, mask))
}

/** Returns a batch by name: ids and mask [B, S], and labels [B, C], one 1 in each row. */
internal fun batchOf(source: ExampleSource, rows: IntArray, tokenizer: Tokenizer, labels: Int, length: Int): Tensors {
    val wanted = FloatArray(rows.size * labels)
    rows.forEachIndexed { place, row -> wanted[place * labels + source.labels[row]] = 1f }
    return encodedTexts(rows.map(source::text), tokenizer, length) + (Ports.LABELS to floatsOf(wanted, rows.size, labels))
}

/** Returns the examples of each label among [rows], [C]. */
internal fun labelCounts(source: ExampleSource, rows: IntArray, labels: Int): FloatArray =
    FloatArray(labels).also { counts -> rows.forEach { counts[source.labels[it]]++ } }
