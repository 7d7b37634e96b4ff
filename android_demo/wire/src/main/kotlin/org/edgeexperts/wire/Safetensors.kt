/**
 * The safetensors format: a header's length (u64), a JSON header, the tensors' bytes; little-endian, nothing between.
 *
 * Checked as the Rust library checks: known types, sizes that fit their shapes, no holes, no overlap, no rest.
 */
package org.edgeexperts.wire

import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val LENGTH_BYTES = 8
private const val METADATA = "__metadata__"
private val SIZES = mapOf(
    "BOOL" to 1L, "U8" to 1L, "I8" to 1L, "U16" to 2L, "I16" to 2L, "F16" to 2L, "BF16" to 2L,
    "U32" to 4L, "I32" to 4L, "F32" to 4L, "U64" to 8L, "I64" to 8L, "F64" to 8L,
)

/**
 * One tensor of a file.
 *
 * @property dtype as the format names it: "F32", "I64", ...
 * @property shape its axes.
 * @property data its bytes, little-endian.
 */
public class NamedTensor(public val dtype: String, public val shape: List<Long>, public val data: ByteArray) {
    /** Returns its values; only for "F32". */
    public fun floats(): FloatArray {
        check(dtype == "F32") { "a tensor of $dtype has no float32 values" }
        return FloatArray(data.size / 4).also {
            ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(it)
        }
    }

    /** Returns its values; only for "F64". */
    public fun doubles(): DoubleArray {
        check(dtype == "F64") { "a tensor of $dtype has no float64 values" }
        return DoubleArray(data.size / 8).also {
            ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).asDoubleBuffer().get(it)
        }
    }

    public companion object {
        /** Returns a tensor of float64 values, one axis. */
        public fun of(values: DoubleArray): NamedTensor {
            val data = ByteBuffer.allocate(8 * values.size).order(ByteOrder.LITTLE_ENDIAN)
            data.asDoubleBuffer().put(values)
            return NamedTensor("F64", listOf(values.size.toLong()), data.array())
        }

        /** Returns a tensor of float32 values; [shape] is one axis unless given. */
        public fun of(values: FloatArray, shape: List<Long> = listOf(values.size.toLong())): NamedTensor {
            val data = ByteBuffer.allocate(4 * values.size).order(ByteOrder.LITTLE_ENDIAN)
            data.asFloatBuffer().put(values)
            return NamedTensor("F32", shape, data.array())
        }
    }
}

/**
 * What a file holds.
 *
 * @property tensors by name.
 * @property metadata texts by name.
 */
public class SafetensorsFile(public val tensors: Map<String, NamedTensor>, public val metadata: Map<String, String>)

/**
 * Reads a file's bytes.
 *
 * @throws BankException when they are no safetensors file.
 */
public fun readSafetensors(data: ByteArray, source: String): SafetensorsFile {
    fun refuse(why: String, cause: Throwable? = null): Nothing =
        throw BankException("$source is no safetensors file ($why)", cause)

    val length = if (data.size < LENGTH_BYTES) -1 else ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).getLong()
    if (length < 0 || length > data.size - LENGTH_BYTES) refuse("its header does not end within it")
    val start = LENGTH_BYTES + length.toInt()
    val header = try {
        parseJson(data.copyOfRange(LENGTH_BYTES, start), "the header") as? Map<*, *>
    } catch (error: PackageException) {
        refuse(error.message.orEmpty(), error)
    } ?: refuse("its header is no object")
    val metadata = header[METADATA] ?: emptyMap<String, String>()
    if (metadata !is Map<*, *> || metadata.values.any { it !is String }) refuse("its metadata are no texts")
    val entries = header.filterKeys { it != METADATA }.map { (name, tree) ->
        (name as String) to (entry(tree) ?: refuse("its tensor ${shown(name)} is not described as it should be"))
    }
    var end = 0L
    for ((name, entry) in entries.sortedBy { it.second.begin }) {
        if (entry.begin != end) refuse("a hole or an overlap before ${shown(name)}")
        end = entry.end
    }
    if (start + end != data.size.toLong()) refuse("its tensors have $end bytes, ${data.size - start} are there")
    val tensors = entries.associate { (name, entry) ->
        val bytes = data.copyOfRange(start + entry.begin.toInt(), start + entry.end.toInt())
        name to NamedTensor(entry.dtype, entry.shape, bytes)
    }
    return SafetensorsFile(tensors, metadata.entries.associate { (name, text) -> name as String to text as String })
}

private class Entry(val dtype: String, val shape: List<Long>, val begin: Long, val end: Long)

private fun entry(tree: Any?): Entry? {
    val entry = tree as? Map<*, *> ?: return null
    val dtype = entry["dtype"] as? String ?: return null
    val shape = wholes(entry["shape"]) ?: return null
    val (begin, end) = wholes(entry["data_offsets"])?.takeIf { it.size == 2 } ?: return null
    val bytes = product(shape, SIZES[dtype] ?: return null) ?: return null
    return Entry(dtype, shape, begin, end).takeIf { begin <= end && end - begin == bytes }
}

private fun wholes(tree: Any?): List<Long>? =
    (tree as? List<*>)?.map { item -> (item as? Long)?.takeIf { it >= 0 } ?: return null }

/** Returns the product of [axes] and [size], or null beyond 64 bits. */
private fun product(axes: List<Long>, size: Long): Long? = try {
    axes.fold(size, Math::multiplyExact)
} catch (_: ArithmeticException) {
    null
}

/** Writes named tensors, ascending by name, and [metadata]. */
public fun writeSafetensors(tensors: Map<String, NamedTensor>, metadata: Map<String, String> = emptyMap()): ByteArray {
    val named = tensors.toSortedMap()
    var offset = 0L
    val header = named.mapValues { (_, tensor) ->
        val offsets = listOf(offset, offset + tensor.data.size).also { offset = it[1] }
        mapOf("dtype" to tensor.dtype, "shape" to tensor.shape, "data_offsets" to offsets)
    }
    val text = canonicalJson(if (metadata.isEmpty()) header else header + mapOf(METADATA to metadata))
    val padded = text.copyOf((text.size + 7) / 8 * 8).also { it.fill(' '.code.toByte(), text.size) }
    val file = ByteBuffer.allocate(LENGTH_BYTES + padded.size + offset.toInt()).order(ByteOrder.LITTLE_ENDIAN)
    file.putLong(padded.size.toLong()).put(padded)
    named.values.forEach { file.put(it.data) }
    return file.array()
}
