/** Holds a message's numbers against the sizes that protobuf gives them; the parser of javalite takes longer ones. */
package org.edgeexperts.wire

private const val VALUE_BYTES = 10
private const val TAG_BYTES = 5
private const val LARGEST_TAG = 0xFFFFFFFFL

/**
 * Which fields of a message hold more than bytes.
 *
 * @property messages numbers of the fields that are messages without a message inside.
 * @property packed numbers of the fields that are lists of varints.
 * @property inside of the fields that are messages with messages inside: what those hold, by number.
 */
internal class Nested(
    val messages: Set<Int> = emptySet(),
    val packed: Set<Int> = emptySet(),
    val inside: Map<Int, Nested> = emptyMap(),
)

/**
 * Returns whether every tag and length in [data] is a varint of at most five bytes and 32 bits, and every value one of
 * at most ten bytes. Of bytes that are wrong in another way the parser says so.
 */
internal fun varintsFit(data: ByteArray, nested: Nested): Boolean = Varints(data, 0, data.size).fit(nested)

private class Varints(private val data: ByteArray, private var position: Int, private val end: Int) {
    /** Returns whether all numbers up to the end fit. */
    fun fit(nested: Nested): Boolean {
        var groups = 0
        while (position < end) {
            val tag = small() ?: return false
            when ((tag and 7).toInt()) {
                0 -> if (!value()) return false
                1 -> skip(8)
                2 -> if (!bytes(if (groups == 0) (tag ushr 3).toInt() else 0, nested)) return false
                3 -> groups++
                4 -> groups--
                5 -> skip(4)
            }
        }
        return true
    }

    /** Takes a field of bytes, and looks into it where it is a message or a list of varints. */
    private fun bytes(field: Int, nested: Nested): Boolean {
        val size = small() ?: return false
        val content = Varints(data, position, if (size > end - position) end else position + size.toInt())
        skip(size)
        return when (field) {
            in nested.messages -> content.fit(Nested())
            in nested.packed -> content.values()
            in nested.inside -> content.fit(nested.inside.getValue(field))
            else -> true
        }
    }

    private fun values(): Boolean {
        while (position < end) if (!value()) return false
        return true
    }

    /** Takes a value; false when it has no end within ten bytes. */
    private fun value(): Boolean {
        repeat(VALUE_BYTES) { if (position >= end || data[position++] >= 0) return true }
        return false
    }

    /** Takes a tag or a length; null when it does not fit 32 bits in five bytes. */
    private fun small(): Long? {
        var value = 0L
        repeat(TAG_BYTES) { index ->
            if (position >= end) return value
            val byte = data[position++].toLong()
            value = value or ((byte and 0x7F) shl 7 * index)
            if (byte >= 0) return value.takeIf { it <= LARGEST_TAG }
        }
        return null
    }

    private fun skip(size: Long) {
        position = if (size > end - position) end else position + size.toInt()
    }
}
