package org.edgeexperts.core.tokenizer

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Patterns by hand; those of the model families against Python's are in TokenizerTest. */
class TextPatternTest {
    private fun cuts(pattern: String, text: String) = TextPattern.read(pattern).cuts(text).map { (if (it.matched) "" else "-") + it.of(text) }

    @Test
    fun patternsMatchFromTheLeft() {
        assertEquals(listOf("ab", "-c", "a"), cuts("ab|a", "abca"))
        assertEquals(listOf("a", "-bc", "a"), cuts("a|ab", "abca"))
        assertEquals(listOf("12", "3"), cuts("""\p{N}{1,2}""", "123"))
        assertEquals(listOf("aaa", "-a"), cuts("a{3}", "aaaa"))
        assertEquals(listOf("- x", "  "), cuts(" {2,}", " x  "))
        assertEquals(listOf("aab", "-a"), cuts("a*ab", "aaba")) // gives one back
        assertEquals(listOf("-a", "]-", "-^b"), cuts("""[\]\--]+""", "a]-^b"))
        assertEquals(listOf("-\ud83d\ude00", "x"), cuts("[^\ud83d\ude00]", "\ud83d\ude00x"))
    }

    @Test
    fun groupsAndLooksAhead() {
        assertEquals(listOf("it's", "-'", "x"), cuts("""\p{L}+(?i:'s|'t)?""", "it's'x"))
        assertEquals(listOf("'S", "'\u017f"), cuts("(?i:'s)", "'S'\u017f")) // a long s is an s
        assertEquals(listOf("  ", "- x"), cuts("""\s+(?!\S)""", "   x"))
        assertEquals(listOf("a", "-bab"), cuts("(?:a(?=b))(?=bab)", "abab"))
    }

    @Test
    fun whatIsNotReadIsRefused() {
        val patterns = listOf(
            "a*", "a|", "(a)", "(?:a", "a)", "(?:a)+", "(?:a)??", "(?i:[a])", "(?i:é)", "a++", "a*?", "a{2}+", "a{x}", "a{3,2}", "a{1,2,3}", "a{",
            "{", "^a", "a$", ".", "a\\", "\\w", "\\d", "\\p{Han}", "\\p{}", "\\pL", "[", "[]", "[a", "[[a]]", "[a&&b]", "[b-a]", "[a-\\s]", "[a-c-e]",
            "(?<=a)b", "(?!a)+b", "a".repeat(5000),
        )
        for (pattern in patterns) assertFailsWith<PatternException>(pattern) { TextPattern.read(pattern) }
        val message = assertFailsWith<PatternException> { TextPattern.read("""x\p{Han}""") }.message!!
        assertTrue("category Han" in message, message)
    }
}
