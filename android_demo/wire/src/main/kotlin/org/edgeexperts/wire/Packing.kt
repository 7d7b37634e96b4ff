/**
 * Which texts a call takes, and where they stand in its rows: SPEC.md, "Packing"; as edge_runtime/wire/packing.py.
 *
 * Axes: R rows of S places, B texts at most. Texts are short and their lengths differ, so a row holds several of them, one
 * behind the other, and next to nothing of a step is padding.
 */
package org.edgeexperts.wire

/**
 * What a call has room for.
 *
 * @property rows R.
 * @property sequence S; a longer text is cut.
 * @property batch B.
 */
public data class Capacity(public val rows: Int, public val sequence: Int, public val batch: Int) {
    /** N = R*S. */
    public val places: Int get() = rows * sequence
}

/**
 * Where a text stands.
 *
 * @property row from 0.
 * @property first its first place in the row.
 * @property count its tokens.
 */
public data class Stand(public val row: Int, public val first: Int, public val count: Int) {
    /** The place behind its last token. */
    public val end: Int get() = first + count
}

/**
 * Returns where the next texts stand: of as many of them, in their order, as fit; at least of one.
 *
 * The first k texts fit when first-fit decreasing places them (Johnson, 1973): the longest first, equal ones in order, each
 * in the first row that has room. The largest such k is taken.
 *
 * @param lengths tokens of the texts that come next; those beyond B are not looked at. 0 is a text without a token.
 */
public fun pack(lengths: List<Int>, capacity: Capacity): List<Stand> {
    val cut = lengths.take(capacity.batch).map { minOf(it, capacity.sequence) }
    return (cut.size downTo 1).firstNotNullOfOrNull { placed(cut.subList(0, it), capacity) }.orEmpty()
}

/** Returns where texts stand, in their order; null when not all of them have a place. */
private fun placed(lengths: List<Int>, capacity: Capacity): List<Stand>? {
    if (lengths.sumOf(Int::toLong) > capacity.places) return null
    val taken = IntArray(capacity.rows)
    val stands = arrayOfNulls<Stand>(lengths.size)
    for (text in lengths.indices.sortedByDescending(lengths::get)) { // stable: equal ones stay in order
        val row = taken.indexOfFirst { it + lengths[text] <= capacity.sequence }
        if (row < 0) return null
        stands[text] = Stand(row, taken[row], lengths[text])
        taken[row] += lengths[text]
    }
    return stands.map { checkNotNull(it) }
}

/** Returns how many texts each step takes when all of [lengths] are packed, one step after the other. */
public fun packedSteps(lengths: List<Int>, capacity: Capacity): List<Int> {
    val taken = ArrayList<Int>()
    var start = 0
    while (start < lengths.size) {
        taken += pack(lengths.subList(start, minOf(start + capacity.batch, lengths.size)), capacity).size
        start += taken.last()
    }
    return taken
}

/** Returns whether steps are nearly full of texts: 9/10 of the texts a step that unlimited rows would take. */
public fun holds(lengths: List<Int>, capacity: Capacity): Boolean =
    9L * packedSteps(lengths, capacity).size <= 10L * ((lengths.size + capacity.batch - 1) / capacity.batch)
