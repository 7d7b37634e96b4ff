/**
 * One optimizer step in k parts: each part of the rows adds its gradients to sums, then the optimizer takes the sums.
 *
 * Axes: B texts at most, R rows of S places, N = R*S, C labels, k parts of R / k rows. Between two steps nothing is
 * left over: sums start at 0, so a checkpoint between steps needs none of this.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.MethodSpec
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.TensorSpec
import org.edgeexperts.wire.Tier

/**
 * Makes one optimizer step and returns its outputs: in one call, or as the tier says.
 *
 * @param inputs of the whole step by name: values, moments, batch, and what steers them.
 * @return new values and moments; `loss` [1] of the batch; `usage` [L, H], means over the batch's tokens; 0 without any.
 */
internal fun runStep(program: Executor, manifest: Manifest, tier: Tier, inputs: Tensors): Tensors {
    if (tier.microBatches == 1L) return program.execute(tier.method, inputs)
    val spec = manifest.methods.getValue(tier.method)
    var sums: Tensors = spec.inputs.filter { it.name in Ports.GRADIENT_SUMS }.associate { it.name to zeros(it) }
    val told = Means(spec)
    val total = weight(inputs)
    for (part in 0 until tier.microBatches.toInt()) {
        val call = cut(spec, inputs, part)
        val tokens = call.floats(Ports.MASK).sumOf(Float::toDouble)
        if (tokens == 0.0) continue // nothing to learn from, and nothing to tell
        val share = if (total > 0) weight(call) / total else 0.0
        val outputs = program.execute(tier.method, sums + call + (Ports.SHARE to floatsOf(floatArrayOf(share.toFloat()), 1)))
        told.add(outputs, share, tokens)
        sums = sums.keys.associateWith(outputs::getValue)
    }
    val wanted = manifest.methods.getValue(tier.applyMethod).inputs.map(TensorSpec::name)
    return told.means() + program.execute(tier.applyMethod, (inputs + sums).filterKeys(wanted::contains))
}

private fun zeros(tensor: TensorSpec) = tensor.shape.toLongArray().let { shape ->
    TensorValue.Floats(shape, FloatArray(shape.fold(1L, Long::times).toInt()))
}

/** Returns the sum of label weights: of a batch, or of one part. */
private fun weight(inputs: Tensors): Double = inputs.floats(Ports.LABELS).sumOf(Float::toDouble)

/** Returns one part's inputs: its rows, what its texts are read by, and the labels of its texts alone. */
private fun cut(spec: MethodSpec, inputs: Tensors, part: Int): Tensors {
    val call = HashMap<String, TensorValue>()
    for (tensor in spec.inputs) {
        val whole = inputs[tensor.name] ?: continue
        call[tensor.name] = when {
            tensor.name == Ports.READOUT -> columns(whole as TensorValue.Floats, tensor, part)
            whole.shape.toList() == tensor.shape -> whole
            else -> rows(whole, tensor, part)
        }
    }
    call[Ports.LABELS] = ofTextsHere(inputs.getValue(Ports.LABELS) as TensorValue.Floats, call.floats(Ports.READOUT))
    return call
}

private fun rows(whole: TensorValue, tensor: TensorSpec, part: Int): TensorValue {
    val shape = tensor.shape.toLongArray()
    val size = shape.fold(1L, Long::times).toInt()
    val (from, to) = part * size to (part + 1) * size
    return when (whole) {
        is TensorValue.Floats -> TensorValue.Floats(shape, whole.values.copyOfRange(from, to))
        is TensorValue.Longs -> TensorValue.Longs(shape, whole.values.copyOfRange(from, to))
    }
}

/** Returns the columns [B, N / k] that are a part's places. */
private fun columns(whole: TensorValue.Floats, tensor: TensorSpec, part: Int): TensorValue.Floats {
    val (texts, places) = tensor.shape.map(Long::toInt)
    val all = whole.shape[1].toInt()
    val values = FloatArray(texts * places)
    for (text in 0 until texts) {
        val from = text * all + part * places
        whole.values.copyInto(values, text * places, from, from + places)
    }
    return floatsOf(values, texts, places)
}

/** Returns labels [B, C] with zeros for texts that are not read here; a text stands in one row, so in one part. */
private fun ofTextsHere(labels: TensorValue.Floats, readout: FloatArray): TensorValue.Floats {
    val (texts, count) = labels.shape.map(Long::toInt)
    val places = readout.size / texts
    val here = BooleanArray(texts) { text -> (text * places until (text + 1) * places).any { readout[it] != 0f } }
    return floatsOf(FloatArray(labels.values.size) { if (here[it / count]) labels.values[it] else 0f }, texts, count)
}

/** Losses and statistics of the parts, added up in float64 in the order of the calls. */
private class Means(spec: MethodSpec) {
    private var loss = 0.0
    private var tokens = 0.0
    private val shapes = spec.outputs.filter { it.name in Ports.ROUTER_STATISTICS }.associate { it.name to it.shape.toLongArray() }
    private val sums = shapes.mapValues { (_, shape) -> DoubleArray(shape.fold(1L, Long::times).toInt()) }

    fun add(outputs: Tensors, share: Double, count: Double) {
        loss += share * outputs.floats(Ports.LOSS)[0]
        tokens += count
        for ((name, sum) in sums) {
            val values = outputs.floats(name)
            values.indices.forEach { sum[it] += values[it].toDouble() * count }
        }
    }

    fun means(): Tensors = sums.mapValues { (name, total) ->
        val mean = FloatArray(total.size) { (total[it] / maxOf(tokens, 1.0)).toFloat() }
        TensorValue.Floats(shapes.getValue(name), mean)
    } + (Ports.LOSS to floatsOf(floatArrayOf(loss.toFloat()), 1))
}
