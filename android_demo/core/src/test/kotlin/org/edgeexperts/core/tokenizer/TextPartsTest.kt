package org.edgeexperts.core.tokenizer

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

/** Normalizers, pre-tokenizers and added tokens by hand; whole tokenizers against Python's are in TokenizerTest. */
class TextPartsTest {
    /** Its documentation's example; inverted, what stands between is the delimiter. */
    @Test
    fun delimitersGoWhereTheyBelong() {
        fun split(delimiter: Delimiter, inverted: Boolean = false) =
            Split(TextPattern.literal("-"), delimiter, inverted).cut("the-final--countdown", begins = true)
        assertEquals(listOf("the", "final", "countdown"), split(Delimiter.REMOVED))
        assertEquals(listOf("the", "-", "final", "-", "-", "countdown"), split(Delimiter.ISOLATED))
        assertEquals(listOf("the", "-", "final", "--", "countdown"), split(Delimiter.CONTIGUOUS))
        assertEquals(listOf("the-", "final-", "-", "countdown"), split(Delimiter.MERGED_WITH_PREVIOUS))
        assertEquals(listOf("the", "-final", "-", "-countdown"), split(Delimiter.MERGED_WITH_NEXT))
        assertEquals(listOf("-", "-", "-"), split(Delimiter.REMOVED, inverted = true))
    }

    @Test
    fun spacesBecomeMarks() {
        fun words(prefix: Prefix, text: String, begins: Boolean) = Metaspace("_", prefix, words = true).cut(text, begins).filter { it.isNotEmpty() }
        assertEquals(listOf("_a", "_", "_b", "_"), words(Prefix.ALWAYS, "a  b ", begins = false))
        assertEquals(listOf("_a"), words(Prefix.ALWAYS, " a", begins = true))
        assertEquals(listOf("a"), words(Prefix.FIRST, "a", begins = false))
        assertEquals(listOf("_a"), words(Prefix.FIRST, "a", begins = true))
        assertEquals(listOf("a", "_b"), words(Prefix.NEVER, "a b", begins = true))
        assertEquals(listOf("_a_b"), Metaspace("_", Prefix.ALWAYS, words = false).cut("a b", begins = true))
        assertEquals(listOf("a", "b"), WhitespaceSplit.cut("\ta\u3000\u00a0b ", begins = true))
    }

    @Test
    fun textsAreNormalized() {
        assertEquals("a", Strip(left = true, right = true).normalize("\u3000a \n"))
        assertEquals(" a", Strip(left = false, right = true).normalize(" a "))
        assertEquals("", Strip(left = true, right = true).normalize("  "))
        assertEquals("", Prepend("_").normalize(""))
        assertEquals("_a", Prepend("_").normalize("a"))
        assertEquals("a b", Replace(TextPattern.read(" {2,}"), " ").normalize("a   b"))
        assertEquals("e", StripMarks.normalize("e\u0301\u0903\u20dd"))
        assertEquals("\u03bf\u03c3 i\u0307", Lowercase.normalize("\u039f\u03a3 \u0130"))
    }

    /** A special token stays text, and what begins within it; of two that begin at one place the longer is found. */
    @Test
    fun addedTokensAreFound() {
        fun token(content: String, special: Boolean = false) = AddedToken(content, 0, special, isNormalized = false)
        fun split(text: String, vararg tokens: AddedToken) =
            AddedTokens(tokens.toList()).split(text).map { (if (it.token != null) "!" else "") + text.substring(it.start, it.end) }
        assertEquals(listOf("a", "!<t>", "!<t>", "b"), split("a<t><t>b", token("<t>")))
        assertEquals(listOf("!<t>x", "y"), split("<t>xy", token("<t>"), token("<t>x")))
        assertEquals(listOf("<s>", "!<t>"), split("<s><t>", token("<s>", special = true), token("<t>")))
        assertEquals(listOf("<s>t"), split("<s>t", token("<s>", special = true), token(">t")))
        assertEquals(emptyList(), split("", token("<t>"), token("")))
    }

    /**
     * A table written by hand: "A" becomes "b", and "é" of two characters becomes one. A node is where its parent's offset
     * and its byte say; a leaf hangs on it by the label 0.
     */
    @Test
    fun charactersAreMappedByATable() {
        val nodes = IntArray(1024)
        fun node(place: Int, label: Int, offset: Int, leaf: Boolean) {
            nodes[place] = label or (offset shl 10) or (if (leaf) 1 shl 8 else 0)
        }
        fun leaf(place: Int, replacement: Int) {
            nodes[place] = replacement or (1 shl 31)
        }
        node(0, 0, 256, leaf = false)
        node(256 xor 'A'.code, 'A'.code, 1, leaf = true)
        leaf((256 xor 'A'.code) xor 1, 0)
        node(256 xor 'e'.code, 'e'.code, 512, leaf = false)
        val acute = (256 xor 'e'.code) xor 512 xor 0xCC
        node(acute, 0xCC, 2, leaf = false)
        val second = acute xor 2 xor 0x81
        node(second, 0x81, 3, leaf = true)
        leaf(second xor 3, 2)
        val replacements = "b\u0000\u00e9\u0000".toByteArray()
        val table = ByteBuffer.allocate(4 + 4 * nodes.size + replacements.size).order(ByteOrder.LITTLE_ENDIAN).putInt(4 * nodes.size)
        nodes.forEach(table::putInt)
        val charsmap = Charsmap(table.put(replacements).array())
        assertEquals("bb e \u00e9", charsmap.normalize("AA e e\u0301"))
        assertEquals("b", charsmap.normalize("A\u0301"), "the shortest beginning decides for a cluster")
        assertEquals("b\u0301\u0301\u0301", charsmap.normalize("A\u0301\u0301\u0301"), "one of seven bytes goes by code points")
        assertEquals("b\u0000b", charsmap.normalize("A\u0000A"))
    }

    @Test
    fun whatIsNoTableIsRefused() {
        for (text in listOf("", "AAAA", "!", "/////w==", "AQAAAA==")) assertFailsWith<IllegalArgumentException>(text) { Charsmap.read(text) }
        val wild = Charsmap(byteArrayOf(4, 0, 0, 0, -1, -1, -1, -1)) // leads out of the table
        assertEquals("A\u0301", wild.normalize("A\u0301"))
    }
}
