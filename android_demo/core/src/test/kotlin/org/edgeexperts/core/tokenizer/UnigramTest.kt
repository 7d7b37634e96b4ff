package org.edgeexperts.core.tokenizer

import kotlin.test.Test
import kotlin.test.assertEquals

/** Unigram by hand; whole tokenizers against Python's are in TokenizerTest. */
class UnigramTest {
    private val scores = listOf("?" to 0.0, "a" to -1.0, "b" to -2.0, "ab" to -3.5, "abc" to -2.5, "cc" to -4.0, "<0xC3>" to 0.0, "<0xA9>" to 0.0)
    private val names = scores.map { it.first }

    private fun pieces(text: String, byteFallback: Boolean = false): List<String> =
        Unigram(names, DoubleArray(scores.size) { scores[it].second }, unknown = 0, byteFallback).ids(text).map { names[it.toInt()] }

    /** a + b is -3, better than ab; abc at -2.5 is better than either with an unknown c, which is -4 - 10. */
    @Test
    fun theBestSumWins() {
        assertEquals(listOf("a", "b"), pieces("ab"))
        assertEquals(listOf("abc", "a"), pieces("abca"))
        assertEquals(listOf("abc", "cc"), pieces("abccc"))
        assertEquals(emptyList(), pieces(""))
    }

    /** Unknown neighbours are one; their bytes stand for them where the vocabulary has all of them. */
    @Test
    fun theUnknownIsFused() {
        assertEquals(listOf("a", "?", "b"), pieces("axyb"))
        assertEquals(listOf("?"), pieces("\ud83d\ude00"))
        assertEquals(listOf("a", "<0xC3>", "<0xA9>", "<0xC3>", "<0xA9>", "b"), pieces("a\u00e9\u00e9b", byteFallback = true))
        assertEquals(listOf("?"), pieces("\u00e9x", byteFallback = true))
    }

    /** Of cuttings that are as good the one stays that was seen first: the longer piece behind. */
    @Test
    fun tiesKeepTheFirst() {
        val model = Unigram(listOf("?", "x", "xx"), doubleArrayOf(0.0, -1.0, -2.0), unknown = 0, byteFallback = false)
        assertEquals(listOf(2L), model.ids("xx").toList())
        assertEquals(listOf(1L, 2L), model.ids("xxx").toList())
    }

    /** Of two pieces alike the latter counts. */
    @Test
    fun theLatterOfTwoCounts() {
        val model = Unigram(listOf("?", "x", "x"), doubleArrayOf(0.0, -9.0, -1.0), unknown = 0, byteFallback = false)
        assertEquals(listOf(2L, 2L), model.ids("xx").toList())
    }

    /** 3.4 = 34 / 10 rounds once; of more than 53 bits of digits the second rounding may show, of more than 64 the rest is dropped. */
    @Test
    fun scoresAreReadAsTheLibraryDoes() {
        assertEquals(-3.4, score("-3.4"))
        assertEquals(2500.0, score("2.5e3"))
        assertEquals(1.5E-7, score("15E-8"))
        assertEquals(12345678901234567.0 / 1e16, score("1.2345678901234567"))
        assertEquals(1.0, score("1.00000000000000000000000009"))
    }
}
