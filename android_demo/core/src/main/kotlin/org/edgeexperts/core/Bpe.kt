package org.edgeexperts.core

import java.util.PriorityQueue

/**
 * Byte pair encoding: a word's characters are merged, pair by pair, the earliest learned pair first and of its places the
 * leftmost.
 *
 * @param vocabulary ids by piece; it has every character that a word may have.
 * @param merges pairs of pieces in the order that they were learned; the vocabulary has what each makes.
 * @param wholeWords whether a word that the vocabulary has is that piece, whatever the merges say.
 */
internal class Bpe(
    private val vocabulary: Map<String, Long>,
    merges: List<Pair<String, String>>,
    private val wholeWords: Boolean,
) {
    private class Merge(val rank: Int, val id: Long)

    private class Candidate(val rank: Int, val place: Int, val left: Long, val right: Long)

    private val merges = HashMap<Pair<Long, Long>, Merge>().also { table ->
        merges.forEachIndexed { rank, (left, right) ->
            table[vocabulary.getValue(left) to vocabulary.getValue(right)] = Merge(rank, vocabulary.getValue(left + right))
        }
    }

    fun ids(word: String): List<Long> {
        if (wholeWords) vocabulary[word]?.let { return listOf(it) }
        return Merging(LongArray(word.length) { vocabulary.getValue(word.substring(it, it + 1)) }).ids()
    }

    /** One word: pieces in a chain, and the pairs that may be merged. */
    private inner class Merging(private val pieces: LongArray) {
        private val next = IntArray(pieces.size) { it + 1 } // the place of the piece behind; the size behind the last
        private val before = IntArray(pieces.size) { it - 1 }
        private val gone = BooleanArray(pieces.size)
        private val candidates = PriorityQueue<Candidate>(compareBy(Candidate::rank, Candidate::place))

        fun ids(): List<Long> {
            for (place in 0 until pieces.size - 1) offer(place)
            while (true) merge(candidates.poll() ?: break)
            return pieces.indices.filterNot { gone[it] }.map { pieces[it] }
        }

        private fun offer(place: Int) {
            if (place < 0 || next[place] >= pieces.size) return
            val (left, right) = pieces[place] to pieces[next[place]]
            merges[left to right]?.let { candidates += Candidate(it.rank, place, left, right) }
        }

        private fun merge(candidate: Candidate) {
            val (left, right) = candidate.place to next[candidate.place]
            if (gone[left] || right >= pieces.size) return
            if (pieces[left] != candidate.left || pieces[right] != candidate.right) return // merged another way meanwhile
            pieces[left] = merges.getValue(candidate.left to candidate.right).id
            gone[right] = true
            next[left] = next[right]
            if (next[left] < pieces.size) before[next[left]] = left
            offer(before[left])
            offer(left)
        }
    }
}
