/**
 * Texts to probabilities and features with one bank, and what federations start a head from: class sums of the frozen
 * backbone's features. Axes: B texts of a call at most, C labels, d width.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Ports

/**
 * What a program says of a text.
 *
 * @property probabilities [C].
 * @property feature [d], of length 1.
 */
public class Reading(public val probabilities: FloatArray, public val feature: FloatArray)

/**
 * Reads texts with one bank.
 *
 * @param bank whose experts run; the first H of them where the program holds fewer than M.
 * @param short whether memory is short; then one inference method at a time is kept.
 */
public class Predictor(
    program: Executor,
    manifest: Manifest,
    private val tokenizer: Tokenizer,
    bank: Bank,
    short: () -> Boolean = { false },
) {
    /** Whether the bank favours any label; without it all are equally likely. */
    public val learned: Boolean = bank.learned
    private val inference = Inference(program, manifest, bank, short)
    private val longest = inference.methods.maxOf { it.capacity.sequence }

    /** Returns what the program says of [text], by the method that has the fewest places for it. */
    public fun read(text: String): Reading {
        val ids = tokenizer.ids(text, longest)
        val method = forOne(inference.methods, ids.size)
        return readings(method, listOf(ids), Packed.next(listOf(ids.size), method.capacity)).single()
    }

    /**
     * Returns what the program says of each of [texts], in their order; a call takes as many as the packing does. Where each
     * call begins and ends follows from the texts alone, so other devices compute the same.
     */
    public fun readAll(texts: Sequence<String>): Sequence<Reading> {
        val method = forMany(inference.methods)
        return if (method.capacity.batch == 1) texts.map(::read) else inCalls(texts, method)
    }

    private fun inCalls(texts: Sequence<String>, method: InferenceMethod) = sequence {
        val rest = texts.iterator()
        val waiting = ArrayList<LongArray>()
        while (true) {
            while (waiting.size < method.capacity.batch && rest.hasNext()) {
                waiting += tokenizer.ids(rest.next(), method.capacity.sequence)
            }
            if (waiting.isEmpty()) return@sequence
            val packed = Packed.next(waiting.map(LongArray::size), method.capacity)
            val call = waiting.subList(0, packed.size)
            yieldAll(readings(method, call, packed))
            call.clear()
        }
    }

    private fun readings(method: InferenceMethod, ids: List<LongArray>, packed: Packed): List<Reading> {
        val outputs = inference.run(method, ids, packed)
        val (probabilities, features) = outputs.floats(Ports.PROBABILITIES) to outputs.floats(Ports.FEATURES)
        fun row(values: FloatArray, slot: Int): FloatArray {
            val size = values.size / method.capacity.batch
            return values.copyOfRange(slot * size, (slot + 1) * size)
        }
        return List(packed.size) { Reading(row(probabilities, it), row(features, it)) }
    }

    /** Frees what prediction has prepared: another method may need the memory. */
    public fun release(): Unit = inference.release()
}

/**
 * Returns counts and sums of frozen features over all examples, summed in float64, in their order.
 *
 * @param stop asked before each text; true gives up.
 * @return null when it gave up.
 */
public fun classSums(
    program: Executor,
    manifest: Manifest,
    tokenizer: Tokenizer,
    source: ExampleSource,
    stop: () -> Boolean = { false },
): ClassSums? {
    val shape = manifest.architecture.bankShape()
    val frozen = Predictor(program, manifest, tokenizer, Bank.zeros(shape))
    val (labels, width) = shape.labels.toInt() to shape.width.toInt()
    val sums = DoubleArray(labels * width)
    val readings = frozen.readAll((0 until source.size).asSequence().map(source::text)).iterator()
    try {
        for (row in 0 until source.size) {
            if (stop()) return null
            val offset = source.labels[row] * width
            readings.next().feature.forEachIndexed { at, value -> sums[offset + at] += value.toDouble() }
        }
    } finally {
        frozen.release()
    }
    val counts = labelCounts(source, IntArray(source.size) { it }, labels)
    return ClassSums(counts, FloatArray(sums.size) { sums[it].toFloat() })
}
