package org.edgeexperts.core.tokenizer

private const val UNKNOWN_PENALTY = 10.0 // SentencePiece's: so much less likely than the least likely piece

/**
 * SentencePiece's Unigram model: a text is cut into the pieces whose scores, logarithms of probabilities, have the largest
 * sum. A character that no piece is for counts as unknown; neighbours that are unknown are one.
 *
 * @param pieces of the vocabulary, by id; of two alike the latter counts.
 * @param scores by id.
 * @param unknown id of what is unknown.
 * @param byteFallback whether the tokens of its bytes, `<0x0A>`, stand for what is unknown, where the vocabulary has them all.
 */
internal class Unigram(
    pieces: List<String>,
    private val scores: DoubleArray,
    private val unknown: Int,
    byteFallback: Boolean,
) : WordModel {
    private val dictionary = PieceDictionary(pieces)
    private val unknownScore = scores.min() - UNKNOWN_PENALTY
    private val bytes = if (byteFallback) byteTokens { dictionary.id(it)?.toLong() } else null

    override fun ids(word: String): LongArray {
        val best = BestPaths(word)
        val parts = ArrayList<LongArray>()
        var end = word.length
        while (end > 0) {
            var start = best.start[end]
            val id = best.id[end]
            if (id == unknown) while (start > 0 && best.id[start] == unknown) start = best.start[start]
            parts += if (id == unknown) idsOfUnknown(word.substring(start, end)) else longArrayOf(id.toLong())
            end = start
        }
        return joined(parts.asReversed(), parts.sumOf { it.size })
    }

    private fun idsOfUnknown(text: String): LongArray =
        dictionary.id(text)?.let { longArrayOf(it.toLong()) } ?: bytes?.let { idsOfBytes(text, it) } ?: longArrayOf(unknown.toLong())

    /** By where a cut may be: the score of the best cutting of what is before, and its last piece. */
    private inner class BestPaths(word: String) {
        private val score = DoubleArray(word.length + 1)
        val start = IntArray(word.length + 1) { -1 }
        val id = IntArray(word.length + 1)

        init {
            forEachCodePoint(word) { _, place, next ->
                var known = false
                dictionary.forEachPrefix(word, place) { piece, end ->
                    offer(place, end, piece, scores[piece])
                    known = known || end == next
                }
                if (!known) offer(place, next, unknown, unknownScore)
            }
        }

        /** Of cuttings that are as good, the first one stays. */
        private fun offer(from: Int, to: Int, piece: Int, its: Double) {
            val sum = its + score[from]
            if (start[to] >= 0 && sum <= score[to]) return
            score[to] = sum
            start[to] = from
            id[to] = piece
        }
    }
}

/** Pieces in the order of their characters, so that those with one beginning stand together: a quarter of a trie's memory. */
private class PieceDictionary(pieces: List<String>) {
    private val ids: IntArray
    private val sorted: Array<String>
    private val beginning = IntArray(Char.MAX_VALUE.code + 2) // by first character, where its pieces begin

    init {
        val idOf = HashMap<String, Int>(pieces.size * 2)
        pieces.forEachIndexed { id, piece -> if (piece.isNotEmpty()) idOf[piece] = id }
        sorted = idOf.keys.toTypedArray().apply { sort() }
        ids = IntArray(sorted.size) { idOf.getValue(sorted[it]) }
        for (piece in sorted) beginning[piece[0].code + 1]++
        for (char in 1 until beginning.size) beginning[char] += beginning[char - 1]
    }

    /** Calls [use] with id and end of every piece that stands in [text] at [start], the shortest first. */
    inline fun forEachPrefix(text: String, start: Int, use: (id: Int, end: Int) -> Unit) {
        var low = beginning[text[start].code]
        var high = beginning[text[start].code + 1]
        var length = 1
        while (low < high) {
            if (sorted[low].length == length) use(ids[low], start + length)
            if (start + length >= text.length) return
            val char = text[start + length].code
            low = firstFrom(low, high, length, char)
            high = firstFrom(low, high, length, char + 1)
            length++
        }
    }

    /** Returns the first place in a range of pieces, alike in [length] characters, whose next character is [char] or later. */
    fun firstFrom(from: Int, to: Int, length: Int, char: Int): Int {
        var low = from
        var high = to
        while (low < high) {
            val middle = (low + high) ushr 1
            val piece = sorted[middle]
            if (piece.length > length && piece[length].code >= char) high = middle else low = middle + 1
        }
        return low
    }

    fun id(piece: String): Int? = sorted.asList().binarySearch(piece).takeIf { it >= 0 }?.let { ids[it] }
}
