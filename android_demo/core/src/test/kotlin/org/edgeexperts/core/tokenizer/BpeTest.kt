package org.edgeexperts.core.tokenizer

import kotlin.test.Test
import kotlin.test.assertEquals

/** Byte pair encoding by hand; whole tokenizers against Python's are in TokenizerTest. */
class BpeTest {
    private val pieces = listOf("a", "b", "c", "ab", "bc", "abc", "bb", "?", "<0xC3>", "<0xA9>")
    private val vocabulary = pieces.withIndex().associate { (id, piece) -> piece to id.toLong() }
    private val leftOut = Unknown(id = null, fused = false, bytes = false)

    private fun bpe(vararg merges: Pair<String, String>, wholeWords: Boolean = false, unknown: Unknown = leftOut) =
        Bpe(vocabulary, merges.asSequence(), merges.size, wholeWords, unknown)

    private fun Bpe.pieces(word: String) = ids(word).map { pieces[it.toInt()] }

    /** "bc" was learned first, so "abc" is a + bc, which nothing merges; of "bbb" the left pair is merged. */
    @Test
    fun theEarliestPairIsMergedFirst() {
        val bpe = bpe("b" to "c", "a" to "b", "ab" to "c", "b" to "b")
        assertEquals(listOf("a", "bc"), bpe.pieces("abc"))
        assertEquals(listOf("ab", "bc"), bpe.pieces("abbc"))
        assertEquals(listOf("bb", "b"), bpe.pieces("bbb"))
        assertEquals(listOf("c"), bpe.pieces("c"))
        assertEquals(emptyList(), bpe.pieces(""))
    }

    /** Where whole words count, the vocabulary is asked before the merges. */
    @Test
    fun aWholeWordIsAPiece() {
        val bpe = bpe("b" to "c", wholeWords = true)
        assertEquals(listOf("abc"), bpe.pieces("abc"))
        assertEquals(listOf("a", "b", "bc"), bpe.pieces("abbc"))
    }

    /** "é" has the bytes C3 A9, which the vocabulary has; of "è", C3 A8, it lacks one. */
    @Test
    fun anUnknownCharacterIsItsBytesOrTheUnknownToken() {
        assertEquals(listOf("ab"), bpe("a" to "b").pieces("aéèb"))
        assertEquals(listOf("a", "?", "?", "b"), bpe("a" to "b", unknown = Unknown(7, fused = false, bytes = false)).pieces("aéèb"))
        assertEquals(listOf("a", "?", "b"), bpe("a" to "b", unknown = Unknown(7, fused = true, bytes = false)).pieces("aéèb"))
        val byBytes = bpe("a" to "b", unknown = Unknown(7, fused = true, bytes = true))
        assertEquals(listOf("<0xC3>", "<0xA9>", "?", "b"), byBytes.pieces("éèb"))
        assertEquals(listOf("<0xC3>", "<0xA9>", "?", "b"), byBytes.pieces("èéb"), "the library puts it behind the bytes")
    }

    /** GPT-2's words by hand: a word takes one space before it, the rest of white space stands alone; bytes as characters. */
    @Test
    fun wordsAreCutAsGpt2Does() {
        val cut = mapOf(
            "it's here" to listOf("it", "'s", "\u0120here"),
            "a  b\n\nc" to listOf("a", "\u0120", "\u0120b", "\u010a", "\u010a", "c"),
            " x1!? " to listOf("\u0120x", "1", "!?", "\u0120"),
            "'tis 'll" to listOf("'t", "is", "\u0120'", "ll"),
        )
        for ((text, words) in cut) assertEquals(words, ByteLevel(spaceFirst = false, words = true).cut(text, begins = true), text)
        assertEquals(listOf("\u0120it"), ByteLevel(spaceFirst = true, words = true).cut("it", begins = false))
    }

    /** Space is U+0120, newline U+010A, as everybody who saw GPT-2's vocabulary knows; "é" has two bytes, C3 and A9. */
    @Test
    fun bytesAreCharacters() = assertEquals("\u0120a\u010a\u00c3\u00a9", byteCharacters(" a\n\u00e9"))

    /** A word of 200,000 characters is merged in the time of a sort, not of its square. */
    @Test
    fun aLongWordIsMerged() {
        val ids = bpe("b" to "b", "a" to "b").ids("b".repeat(200_001))
        assertEquals(100_001, ids.size)
    }
}
