package org.edgeexperts.core

import kotlin.test.Test
import kotlin.test.assertEquals

/** Byte-level BPE by hand; whole tokenizers against Python's are in [TokenizerTest]. */
class BpeTest {
    private val pieces = listOf("a", "b", "c", "ab", "bc", "abc", "bb")
    private val vocabulary = pieces.withIndex().associate { (id, piece) -> piece to id.toLong() }

    private fun Bpe.pieces(word: String) = ids(word).map { pieces[it.toInt()] }

    /** "bc" was learned first, so "abc" is a + bc, which nothing merges; of "bbb" the left pair is merged. */
    @Test
    fun theEarliestPairIsMergedFirst() {
        val bpe = Bpe(vocabulary, listOf("b" to "c", "a" to "b", "ab" to "c", "b" to "b"), wholeWords = false)
        assertEquals(listOf("a", "bc"), bpe.pieces("abc"))
        assertEquals(listOf("ab", "bc"), bpe.pieces("abbc"))
        assertEquals(listOf("bb", "b"), bpe.pieces("bbb"))
        assertEquals(listOf("c"), bpe.pieces("c"))
        assertEquals(emptyList(), bpe.pieces(""))
    }

    /** Where whole words count, the vocabulary is asked before the merges. */
    @Test
    fun aWholeWordIsAPiece() {
        val bpe = Bpe(vocabulary, listOf("b" to "c"), wholeWords = true)
        assertEquals(listOf("abc"), bpe.pieces("abc"))
        assertEquals(listOf("a", "b", "bc"), bpe.pieces("abbc"))
    }

    /** GPT-2's pattern, by hand: a word takes one space before it, the rest of white space stands alone. */
    @Test
    fun wordsAreCutAsGpt2Does() {
        val cut = mapOf(
            "it's here" to listOf("it", "'s", " here"),
            "a  b\n\nc" to listOf("a", " ", " b", "\n", "\n", "c"),
            " x1!? " to listOf(" x", "1", "!?", " "),
            "'tis 'll" to listOf("'t", "is", " '", "ll"),
        )
        for ((text, words) in cut) assertEquals(words, byteLevelWords(text), text)
    }

    /** Space is U+0120, newline U+010A, as everybody who saw GPT-2's vocabulary knows; "é" has two bytes, C3 and A9. */
    @Test
    fun bytesAreCharacters() = assertEquals("\u0120a\u010a\u00c3\u00a9", byteCharacters(" a\n\u00e9"))
}
