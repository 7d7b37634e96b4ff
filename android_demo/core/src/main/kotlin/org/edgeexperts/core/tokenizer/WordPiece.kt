package org.edgeexperts.core.tokenizer

/**
 * Cuts a word into the longest pieces that the vocabulary has, from its start; a word that cannot be cut is unknown.
 *
 * @param vocabulary ids by piece.
 * @param unknown id of what cannot be cut.
 * @param prefix of every piece but a word's first.
 * @param longest code points of a word; a longer one is unknown.
 */
internal class WordPiece(
    private val vocabulary: Map<String, Long>,
    private val unknown: Long,
    private val prefix: String,
    private val longest: Int,
) : WordModel {
    override fun ids(word: String): LongArray {
        if (word.codePointCount(0, word.length) > longest) return longArrayOf(unknown)
        val ids = ArrayList<Long>()
        var start = 0
        while (start < word.length) {
            val (end, id) = piece(word, start) ?: return longArrayOf(unknown)
            ids += id
            start = end
        }
        return ids.toLongArray()
    }

    /** Returns where the longest known piece from [start] ends, and its id. */
    private fun piece(word: String, start: Int): Pair<Int, Long>? {
        val first = if (start > 0) prefix else ""
        var end = word.length
        while (end > start) {
            vocabulary[first + word.substring(start, end)]?.let { return end to it }
            end = word.offsetByCodePoints(end, -1)
        }
        return null
    }
}
