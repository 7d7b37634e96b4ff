/**
 * One optimizer step in k parts: each part of the batch adds its gradients to sums, then the optimizer takes the sums.
 *
 * Axes: B batch, k parts, B / k texts each. Between two steps nothing is left over: sums start at 0, so a checkpoint
 * between steps needs none of this.
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
 * @return new values and moments; `loss` [1] of the batch; `usage` [L, H], means over the batch's tokens.
 */
internal fun runStep(program: Executor, manifest: Manifest, tier: Tier, inputs: Tensors): Tensors {
    if (tier.microBatches == 1L) return program.execute(tier.method, inputs)
    val spec = manifest.methods.getValue(tier.method)
    var sums: Tensors = spec.inputs.filter { it.name in Ports.GRADIENT_SUMS }.associate { it.name to zeros(it) }
    val told = Means()
    shares(inputs, tier.microBatches.toInt()).forEachIndexed { part, share ->
        val call = sums + cut(spec, inputs, part, share)
        val outputs = program.execute(tier.method, call)
        told.add(outputs, share, call.floats(Ports.MASK).sumOf(Float::toDouble))
        sums = sums.keys.associateWith(outputs::getValue)
    }
    val wanted = manifest.methods.getValue(tier.applyMethod).inputs.map(TensorSpec::name)
    return told.means() + program.execute(tier.applyMethod, (inputs + sums).filterKeys(wanted::contains))
}

private fun zeros(tensor: TensorSpec) = tensor.shape.toLongArray().let { shape ->
    TensorValue.Floats(shape, FloatArray(shape.fold(1L, Long::times).toInt()))
}

/** Returns each part's share of the batch's sum of label weights; they add up to 1, or all are 0. */
private fun shares(inputs: Tensors, parts: Int): List<Double> {
    val counted = inputs.floats(Ports.LABELS)
    val size = counted.size / parts
    val weights = List(parts) { part -> (part * size until (part + 1) * size).sumOf { counted[it].toDouble() } }
    val total = weights.sum()
    return weights.map { if (total > 0) it / total else 0.0 }
}

/** Returns one part's inputs: what is longer than the method takes is the batch, and is cut. */
private fun cut(spec: MethodSpec, inputs: Tensors, part: Int, share: Double): Tensors {
    val call = HashMap<String, TensorValue>()
    call[Ports.SHARE] = floatsOf(floatArrayOf(share.toFloat()), 1)
    for (tensor in spec.inputs) {
        val whole = inputs[tensor.name] ?: continue
        call[tensor.name] = if (whole.shape.toList() == tensor.shape) whole else rows(whole, tensor, part)
    }
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

/** Losses and statistics of the parts, added up in float64 in the order of the calls. */
private class Means {
    private var loss = 0.0
    private var tokens = 0.0
    private val sums = HashMap<String, DoubleArray>()
    private val shapes = HashMap<String, LongArray>()

    fun add(outputs: Tensors, share: Double, count: Double) {
        loss += share * outputs.floats(Ports.LOSS)[0]
        tokens += count
        for (name in Ports.ROUTER_STATISTICS.filter(outputs::containsKey)) {
            val values = outputs.floats(name)
            val sum = sums.getOrPut(name) { DoubleArray(values.size) }
            values.indices.forEach { sum[it] += values[it].toDouble() * count }
            shapes[name] = outputs.getValue(name).shape
        }
    }

    fun means(): Tensors = sums.entries.associate { (name, total) ->
        val mean = FloatArray(total.size) { (total[it] / maxOf(tokens, 1.0)).toFloat() }
        name to TensorValue.Floats(shapes.getValue(name), mean)
    } + (Ports.LOSS to floatsOf(floatArrayOf(loss.toFloat()), 1))
}
