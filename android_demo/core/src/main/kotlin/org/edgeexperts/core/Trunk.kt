/**
 * What a training method takes in place of token ids: prefixes of texts, as the frozen layers of the trunk make them.
 *
 * Axes: B texts, S sequence length, n real tokens of a text, d width, g values that share a scale. A prefix is rounded
 * before it is used, as edge_runtime/data/trunk.py does: so a run ends with the same bytes whether its prefixes were found in
 * the cache or computed. Padding is not kept; the step masks it, and takes zeros there.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.sha256
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

private const val GROUP = 64
private const val LEAST_SCALE = 1e-12f

/** Prefixes by key; what is not there is computed again. */
internal interface PrefixCache {
    fun get(key: ByteArray): ByteArray?

    fun put(key: ByteArray, body: ByteArray)
}

/**
 * The frozen prefix of one method.
 *
 * @param method the trunk.
 */
internal class Trunk(
    private val program: Executor,
    manifest: Manifest,
    private val method: String,
    private val cache: PrefixCache?,
) {
    private val width = manifest.architecture.backbone.width.toInt()

    // The program's digest stands for backbone, layers and quantization: what a prefix depends on beside the ids.
    private val salt = "${manifest.files.getValue("program.pte").sha256} $method int8 ".toByteArray()

    /** Returns a batch that a cut method takes, for one with `ids` and `mask` [B, S]. */
    fun inPlaceOfIds(batch: Tensors): Tensors {
        val (ids, mask) = (batch.getValue(Ports.IDS) as TensorValue.Longs) to batch.floats(Ports.MASK)
        val (texts, length) = ids.shape.map(Long::toInt)
        val parts = Ports.BOUNDARY.map { FloatArray(texts * length * width) }
        for (row in 0 until texts) {
            val (from, to) = row * length to (row + 1) * length
            val prefix = one(ids.values.copyOfRange(from, to), mask.copyOfRange(from, to))
            parts.forEachIndexed { part, whole -> prefix[part].copyInto(whole, from * width) }
        }
        return batch - Ports.IDS + Ports.BOUNDARY.zip(parts) { name, values -> name to floatsOf(values, texts, length, width) }
    }

    /** Returns prefix and residual [n, d] of one text: texts are computed one by one, so company changes no bit. */
    private fun one(ids: LongArray, mask: FloatArray): List<FloatArray> {
        val count = mask.count { it > 0 }
        val key = sha256(salt + bytesOf(ids, count))
        val size = Ports.BOUNDARY.size * count * width
        val kept = cache?.get(key)?.takeIf { it.size == size + 4 * (size / groupOf(width)) }
        val data = kept ?: encodePrefix(computed(ids, mask, count), width).also { cache?.put(key, it) }
        val values = decodePrefix(data, size, width)
        return Ports.BOUNDARY.indices.map { values.copyOfRange(it * count * width, (it + 1) * count * width) }
    }

    private fun bytesOf(ids: LongArray, count: Int): ByteArray =
        ByteBuffer.allocate(8 * count).order(ByteOrder.LITTLE_ENDIAN).also { it.asLongBuffer().put(ids, 0, count) }.array()

    private fun computed(ids: LongArray, mask: FloatArray, count: Int): FloatArray {
        val shape = longArrayOf(1, ids.size.toLong())
        val inputs = mapOf(Ports.IDS to TensorValue.Longs(shape, ids), Ports.MASK to TensorValue.Floats(shape, mask))
        val results = program.execute(method, inputs)
        return joined(Ports.BOUNDARY.map { results.floats(it).copyOf(count * width) })
    }
}

private fun groupOf(width: Int): Int = generateSequence(width to GROUP) { (a, b) -> b to a % b }.first { it.second == 0 }.first

/** Returns values as bytes: one float32 scale for each g = gcd(d, 64) values, then the signed bytes. */
internal fun encodePrefix(values: FloatArray, width: Int): ByteArray {
    val group = groupOf(width)
    val scales = FloatArray(values.size / group) { place ->
        var most = 0f
        for (at in place * group until (place + 1) * group) most = maxOf(most, abs(values[at]))
        maxOf(most / 127f, LEAST_SCALE)
    }
    val data = ByteBuffer.allocate(4 * scales.size + values.size).order(ByteOrder.LITTLE_ENDIAN)
    scales.forEach(data::putFloat)
    values.forEachIndexed { at, value -> data.put(Math.rint((value / scales[at / group]).toDouble()).toInt().toByte()) }
    return data.array()
}

/** Returns the [size] values that [data] stands for. */
internal fun decodePrefix(data: ByteArray, size: Int, width: Int): FloatArray {
    val group = groupOf(width)
    val buffer = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
    val scales = FloatArray(size / group) { buffer.getFloat() }
    return FloatArray(size) { buffer.get().toFloat() * scales[it / group] }
}
