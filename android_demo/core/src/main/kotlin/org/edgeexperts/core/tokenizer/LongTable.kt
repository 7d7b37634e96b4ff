package org.edgeexperts.core.tokenizer

/**
 * Numbers by number, both from 0 on, without an object for each: a vocabulary's merges are hundreds of thousands.
 *
 * @param size keys that it will hold at most.
 */
internal class LongTable(size: Int) {
    private val mask = Integer.highestOneBit(maxOf(size, 4) * 3 / 2) * 2 - 1 // at most two thirds are taken
    private val keys = LongArray(mask + 1) { NONE }
    private val values = LongArray(mask + 1)

    operator fun set(key: Long, value: Long) {
        val place = place(key)
        keys[place] = key
        values[place] = value
    }

    /** Returns the value of [key], or [NONE]. */
    operator fun get(key: Long): Long {
        val place = place(key)
        return if (keys[place] == NONE) NONE else values[place]
    }

    private fun place(key: Long): Int {
        val mixed = key * -0x61c8864680b583ebL // 2^64 over the golden ratio: spreads keys that differ in few bits
        var place = (mixed ushr 32).toInt() and mask
        while (keys[place] != NONE && keys[place] != key) place = (place + 1) and mask
        return place
    }

    companion object {
        const val NONE: Long = -1
    }
}
