/**
 * Texts to probabilities and features with one bank, and what federations start a head from: class sums of the frozen
 * backbone's features. Axes: L adapted layers, H held slots, P values of an expert, C labels, d width.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Architecture
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
 */
public class Predictor(
    private val program: Executor,
    manifest: Manifest,
    private val tokenizer: Tokenizer,
    bank: Bank,
) {
    /** Whether the bank favours any label; without it all are equally likely. */
    public val learned: Boolean = bank.learned
    private val method = manifest.predictMethod
    private val shapes = manifest.methods.getValue(method).inputs.associate { it.name to it.shape }
    private val length = shapes.getValue(Ports.IDS)[1].toInt()
    private val steady = predictInputs(bank, manifest.architecture, shapes.getValue(Ports.EXPERTS)[1].toInt())

    /** Returns what the program says of [text]. */
    public fun read(text: String): Reading {
        val outputs = program.execute(method, steady + encodedTexts(listOf(text), tokenizer, length))
        return Reading(outputs.floats(Ports.PROBABILITIES), outputs.floats(Ports.FEATURES))
    }
}

private fun predictInputs(bank: Bank, architecture: Architecture, held: Int): Floats {
    val shape = bank.shape
    val layers = shape.layers.size
    val experts = joined(shape.layers.flatMap { layer -> (0 until held).map { bank.block(expert(layer, it)) } })
    val scale = if (architecture.gate == "topk") 1f else (shape.experts.toDouble() / held).toFloat()
    return commonInputs(bank) + mapOf(
        Ports.EXPERTS to floatsOf(experts, layers, held, shape.expertSize),
        Ports.GATE_SCALE to floatsOf(FloatArray(layers * held) { scale }, layers, held),
    )
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
    for (row in 0 until source.size) {
        if (stop()) return null
        val offset = source.labels[row] * width
        frozen.read(source.text(row)).feature.forEachIndexed { at, value -> sums[offset + at] += value.toDouble() }
    }
    val counts = labelCounts(source, IntArray(source.size) { it }, labels)
    return ClassSums(counts, FloatArray(sums.size) { sums[it].toFloat() })
}
