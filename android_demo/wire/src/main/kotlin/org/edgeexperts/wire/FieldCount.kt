/** Counts the fields of an encoded message without parsing it: a hostile one is refused before it costs memory. */
package org.edgeexperts.wire

/**
 * Returns whether [data] has at most [limit] fields at its top level.
 *
 * Bytes that are no message count as few: the parser names what is wrong with them. Each tag of a group (proto2) is
 * one field, as is each field inside.
 */
internal fun fieldsWithin(data: ByteArray, limit: Int): Boolean {
    if (data.size <= limit) return true
    val reader = VarintReader(data)
    var count = 0
    while (reader.position < data.size) {
        when ((reader.next() and 7).toInt()) {
            0 -> reader.next() // varint
            1 -> reader.skip(8)
            2 -> reader.skip(reader.next())
            3, 4 -> Unit // a group's begin and end
            5 -> reader.skip(4)
            else -> return true
        }
        count++
        if (count > limit) return false
    }
    return true
}

private class VarintReader(private val data: ByteArray) {
    var position: Int = 0

    /** Returns the next varint's low 64 bits; one that does not end within ten bytes ends the data. */
    fun next(): Long {
        var value = 0L
        for (shift in 0 until 70 step 7) {
            if (position >= data.size) return value
            val byte = data[position++].toLong()
            value = value or ((byte and 0x7F) shl shift)
            if (byte >= 0) return value
        }
        position = data.size
        return value
    }

    fun skip(size: Long) {
        val left = (data.size - position).toLong()
        position = if (size < 0 || size > left) data.size else position + size.toInt()
    }
}
