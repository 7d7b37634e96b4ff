/**
 * Values of a block <-> bytes. float32 is exact; int8 has one scale for each 64 values (linear, symmetric).
 *
 * int8 layout for n values: ceil(n / 64) little-endian float32 scales, then n signed bytes; value = scale * byte, byte
 * in [-127, 127], scale = max|v| / 127 over its group (0 for an all-zero group), byte = v / scale rounded half to even
 * and clipped. All in float32, so that two languages write the same bytes.
 */
package org.edgeexperts.wire

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.min

private const val GROUP = 64

// 127 times the rounded quotient would be infinite for the largest float32 itself.
private val LARGEST_SCALE = Math.nextDown(Float.MAX_VALUE / 127f)

/**
 * Returns the bytes of [count] values.
 *
 * @throws WireException UNSUPPORTED_CODEC.
 */
public fun encodedSize(count: Long, codec: Int): Long = when (codec) {
    Codec.FLOAT32_VALUE -> 4 * count
    Codec.INT8_VALUE -> 4 * ((count + GROUP - 1) / GROUP) + count
    else -> throw WireException(Code.UNSUPPORTED_CODEC, "codec $codec; known: 0 (float32), 1 (int8)")
}

/**
 * Writes [values].
 *
 * @throws WireException UNSUPPORTED_CODEC, or NOT_FINITE for NaN or infinity.
 */
public fun encodeValues(values: FloatArray, codec: Int = Codec.FLOAT32_VALUE): ByteArray {
    val size = encodedSize(values.size.toLong(), codec)
    checkFinite(values)
    val data = ByteBuffer.allocate(size.toInt()).order(ByteOrder.LITTLE_ENDIAN)
    if (codec == Codec.FLOAT32_VALUE) {
        data.asFloatBuffer().put(values)
    } else {
        val scales = scales(values)
        scales.forEach(data::putFloat)
        for (place in values.indices) {
            data.put(quantum(values[place], scales[place / GROUP]))
        }
    }
    return data.array()
}

private fun scales(values: FloatArray): FloatArray = FloatArray((values.size + GROUP - 1) / GROUP) { group ->
    var most = 0f
    for (place in group * GROUP until min(values.size, (group + 1) * GROUP)) {
        most = maxOf(most, abs(values[place]))
    }
    minOf(most / 127f, LARGEST_SCALE)
}

// A group of denormals has a scale of 0 and decodes to zeros, as it should.
private fun quantum(value: Float, scale: Float): Byte =
    if (scale > 0f) Math.rint((value / scale).toDouble()).coerceIn(-127.0, 127.0).toInt().toByte() else 0

/**
 * Reads [count] values.
 *
 * @throws WireException WRONG_SIZE, NOT_FINITE, UNSUPPORTED_CODEC, or MALFORMED for a negative scale or the byte -128.
 */
public fun decodeValues(data: ByteArray, count: Long, codec: Int = Codec.FLOAT32_VALUE): FloatArray {
    val expected = encodedSize(count, codec)
    if (data.size.toLong() != expected) {
        throw WireException(Code.WRONG_SIZE, "${data.size} bytes of values, expected $expected for $count values")
    }
    val values = FloatArray(count.toInt())
    val buffer = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)
    if (codec == Codec.FLOAT32_VALUE) buffer.asFloatBuffer().get(values) else readInt8(buffer, values)
    checkFinite(values)
    return values
}

private fun readInt8(data: ByteBuffer, values: FloatArray) {
    val scales = FloatArray((values.size + GROUP - 1) / GROUP) { data.getFloat() }
    if (scales.any { it < 0f }) throw malformed("a scale of int8 values is negative")
    for (place in values.indices) {
        val quantum = data.get().toInt()
        if (quantum == -128) throw malformed("a byte of int8 values is -128, expected -127 to 127")
        values[place] = scales[place / GROUP] * quantum
    }
}

internal fun checkFinite(values: FloatArray) {
    val wrong = values.count { it.isNaN() || it.isInfinite() }
    if (wrong > 0) throw WireException(Code.NOT_FINITE, "$wrong of ${values.size} values are NaN or infinite")
}
