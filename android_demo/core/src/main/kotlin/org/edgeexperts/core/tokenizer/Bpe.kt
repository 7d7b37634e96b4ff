package org.edgeexperts.core.tokenizer

import java.util.Locale
import java.util.PriorityQueue

private const val LONGEST_UTF8 = 3 // bytes of a UTF-16 unit; two units make four

/**
 * What a model does with a character that its vocabulary lacks.
 *
 * @property id of the token that stands for it; null when it is left out.
 * @property fused whether neighbours share one such token.
 * @property bytes whether the tokens of its UTF-8 bytes, `<0x0A>`, stand for it where the vocabulary has them all.
 */
internal class Unknown(val id: Long?, val fused: Boolean, val bytes: Boolean)

/**
 * Byte pair encoding: a word's characters are merged, pair by pair, the earliest learned pair first and of its places the
 * leftmost.
 *
 * @param vocabulary ids by piece.
 * @param merges pairs of pieces in the order that they were learned, [count] of them; the vocabulary has what each makes.
 * @param wholeWords whether a word that the vocabulary has is that piece, whatever the merges say.
 */
internal class Bpe(
    private val vocabulary: Map<String, Long>,
    merges: Sequence<Pair<String, String>>,
    count: Int,
    private val wholeWords: Boolean,
    private val unknown: Unknown,
) : WordModel {
    private val merges = LongTable(count).also { table ->
        merges.forEachIndexed { rank, (left, right) ->
            table[pair(id(left), id(right))] = pair(rank, id(left + right))
        }
    }
    private val characters = LongTable(vocabulary.size).also { table ->
        for ((piece, id) in vocabulary) if (piece.isNotEmpty() && onePoint(piece)) table[piece.codePointAt(0).toLong()] = id
    }
    private val bytes = byteTokens(vocabulary::get)

    private fun id(piece: String) = vocabulary.getValue(piece).toInt()

    override fun ids(word: String): LongArray {
        if (wholeWords) vocabulary[word]?.let { return longArrayOf(it) }
        return Merging(pieces(word)).ids()
    }

    /** Returns the ids of a word's characters. An unknown token stands behind the bytes that follow it, as in the library. */
    private fun pieces(word: String): IntArray {
        val pieces = LongArray(word.length * LONGEST_UTF8 + 1)
        var count = 0
        var waiting: Long? = null
        forEachCodePoint(word) { point, place, end ->
            val id = characters[point.toLong()]
            val byBytes = if (id == LongTable.NONE && unknown.bytes) idsOfBytes(word.substring(place, end), bytes) else null
            when {
                id != LongTable.NONE -> {
                    waiting?.let { pieces[count++] = it }
                    waiting = null
                    pieces[count++] = id
                }
                byBytes != null -> byBytes.forEach { pieces[count++] = it }
                else -> {
                    if (!unknown.fused) waiting?.let { pieces[count++] = it }
                    waiting = unknown.id
                }
            }
        }
        waiting?.let { pieces[count++] = it }
        return IntArray(count) { pieces[it].toInt() }
    }

    /** One word: pieces in a chain, and the pairs that may be merged. */
    private inner class Merging(private val pieces: IntArray) {
        private val next = IntArray(pieces.size) { it + 1 } // the place of the piece behind; the size behind the last
        private val before = IntArray(pieces.size) { it - 1 }
        private val gone = BooleanArray(pieces.size)
        private val candidates = PriorityQueue<Long>() // rank and place of a pair's left piece

        fun ids(): LongArray {
            for (place in 0 until pieces.size - 1) offer(place)
            while (true) merge(candidates.poll() ?: break)
            val ids = LongArray(gone.count { !it })
            var count = 0
            for (place in pieces.indices) if (!gone[place]) ids[count++] = pieces[place].toLong()
            return ids
        }

        /** Returns rank and id of what the piece at [place] and the one behind it make, or nothing. */
        private fun merged(place: Int): Long =
            if (next[place] >= pieces.size) LongTable.NONE else merges[pair(pieces[place], pieces[next[place]])]

        private fun offer(place: Int) {
            if (place < 0) return
            val merged = merged(place)
            if (merged != LongTable.NONE) candidates += pair((merged ushr 32).toInt(), place)
        }

        private fun merge(candidate: Long) {
            val place = candidate.toInt()
            if (gone[place]) return
            val merged = merged(place)
            if (merged == LongTable.NONE || merged ushr 32 != candidate ushr 32) return // merged another way meanwhile
            val right = next[place]
            pieces[place] = merged.toInt()
            gone[right] = true
            next[place] = next[right]
            if (next[place] < pieces.size) before[next[place]] = place
            offer(before[place])
            offer(place)
        }
    }
}

/** Two numbers from 0 on as one, in their order. */
private fun pair(first: Int, second: Int): Long = first.toLong() shl 32 or second.toLong()

private fun onePoint(piece: String) = Character.charCount(piece.codePointAt(0)) == piece.length

/** Returns the ids of the tokens `<0x00>` to `<0xFF>` as [id] knows them. */
internal fun byteTokens(id: (String) -> Long?): Array<Long?> = Array(256) { id("<0x%02X>".format(Locale.ROOT, it)) }

/** Returns the ids of a text's bytes, or null where the vocabulary lacks one. */
internal fun idsOfBytes(text: String, tokens: Array<Long?>): LongArray? {
    val bytes = text.toByteArray(Charsets.UTF_8)
    return LongArray(bytes.size) { tokens[bytes[it].toInt() and 0xFF] ?: return null }
}
