package org.edgeexperts.wire

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class TextsTest {
    /** The decimals that Python's repr writes; Double.toString writes 2.0E-3 and 1.0E7 for some of them. */
    @Test
    fun decimalsAreTheShortest() {
        val known = mapOf(
            20.0 to "20.0", 0.001 to "0.001", 0.1 to "0.1", 9999999.0 to "9999999.0", 14.285714285714286 to "14.285714285714286",
            1.0 / 3 to "0.3333333333333333", 2.0 / 3 to "0.6666666666666666", 0.002 to "0.002", 1234567.875 to "1234567.875",
        )
        known.forEach { (value, text) -> assertEquals(text, shortestDecimal(value)) }
    }

    /** An error's text is one short ASCII line, whatever came. */
    @Test
    fun whatIsShownIsOneLine() {
        assertEquals("\"a\\u000ab\\u202e\"", shown("a\nb\u202e"))
        assertEquals(80, shown("x".repeat(500)).length)
        assertTrue(shown("x".repeat(500)).endsWith("…"))
    }

    /** Each half of a surrogate pair that stands alone becomes U+FFFD; whole characters stay. */
    @Test
    fun halfCharactersAreReplaced() {
        assertEquals("a\ufffdb\ufffd", whole("a\ud83db\udc4d"))
        assertEquals("\ufffd👍\ufffd", whole("\ud83d\ud83d\udc4d\udc4d"))
        assertEquals("größe 👍", whole("größe 👍"))
    }

    /** Sixteen lists around a number are read, seventeen are not. */
    @Test
    fun nestingHasALimit() {
        fun nested(depth: Int) = ("[".repeat(depth) + "1" + "]".repeat(depth)).toByteArray()
        parseJson(nested(DEPTH_LIMIT), "x")
        assertFailsWith<PackageException> { parseJson(nested(DEPTH_LIMIT + 1), "x") }
        assertFailsWith<PackageException> { parseJson(nested(100_000), "x") }
    }

    /** A writer's list is ascending and names nothing twice. */
    @Test
    fun idsAreListedAscendingAndOnce() {
        val listed = refs(listOf(HEAD, ExpertId(1, 2), sharedExpert(1), ExpertId(1, 2)))
        assertEquals(listOf(1 to 2, 1 to 65_535, 65_535 to 0), listed.map { it.layer to it.index })
    }

    /** What a device hears: two topics for all, two of its own. */
    @Test
    fun aDeviceListensToFourTopics() {
        assertEquals(
            listOf("fl/v1/home/gateway", "fl/v1/home/version", "fl/v1/home/plan/p8", "fl/v1/home/verdict/p8"),
            deviceSubscriptions("home", "p8"),
        )
        assertFailsWith<WireException> { deviceSubscriptions("home", "p8/#") }
    }
}
