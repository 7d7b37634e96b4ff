/** What BERT does to a text before it looks words up: clean, space out, strip, lower, split. Works on code points. */
package org.edgeexperts.core.tokenizer

import java.text.Normalizer

/**
 * @param clean drop control characters, make every white space a space.
 * @param chinese put spaces around CJK ideographs.
 * @param stripAccents decompose, then drop the marks that take no place of their own.
 * @param lowercase code point by code point, as no language does it.
 */
internal class BertNormalizer(
    private val clean: Boolean,
    private val chinese: Boolean,
    private val stripAccents: Boolean,
    private val lowercase: Boolean,
) : TextNormalizer {
    override fun normalize(text: String): String {
        var normalized = text
        if (clean) normalized = mapCodePoints(normalized) { point -> cleaned(point) }
        if (chinese) normalized = mapCodePoints(normalized) { point -> if (ideograph(point)) " ${string(point)} " else null }
        if (stripAccents) {
            normalized = Normalizer.normalize(normalized, Normalizer.Form.NFD)
            normalized = mapCodePoints(normalized) { point -> if (mark(point)) "" else null }
        }
        return if (lowercase) lowered(normalized) else normalized
    }

    private fun cleaned(point: Int): String? = when {
        point == 0 || point == REPLACEMENT || control(point) -> ""
        whiteSpace(point) -> " "
        else -> null
    }
}

private const val REPLACEMENT = 0xFFFD

/** Cuts a normalized text at white space; every punctuation mark is a word of its own. */
internal object BertWords : PreTokenizer {
    override fun cut(piece: String, begins: Boolean): List<String> = words(piece)
}

private fun words(text: String): List<String> {
    val words = ArrayList<String>()
    var start = 0
    fun cut(end: Int) {
        if (end > start) words += text.substring(start, end)
    }
    forEachCodePoint(text) { point, place, end ->
        if (whiteSpace(point) || punctuation(point)) {
            cut(place)
            if (!whiteSpace(point)) words += string(point)
            start = end
        }
    }
    cut(text.length)
    return words
}

private fun control(point: Int): Boolean = when (Character.getType(point).toByte()) {
    Character.CONTROL -> point != '\t'.code && point != '\n'.code && point != '\r'.code
    Character.FORMAT, Character.PRIVATE_USE, Character.SURROGATE -> true // unassigned ones are kept
    else -> false
}

private fun mark(point: Int): Boolean = Character.getType(point).toByte() == Character.NON_SPACING_MARK

private fun punctuation(point: Int): Boolean = when (point) {
    in 0x21..0x2F, in 0x3A..0x40, in 0x5B..0x60, in 0x7B..0x7E -> true // ASCII symbols count too
    else -> when (Character.getType(point).toByte()) {
        Character.CONNECTOR_PUNCTUATION, Character.DASH_PUNCTUATION, Character.START_PUNCTUATION,
        Character.END_PUNCTUATION, Character.INITIAL_QUOTE_PUNCTUATION, Character.FINAL_QUOTE_PUNCTUATION,
        Character.OTHER_PUNCTUATION,
        -> true
        else -> false
    }
}

private fun ideograph(point: Int): Boolean = when (point) {
    in 0x4E00..0x9FFF, in 0x3400..0x4DBF, in 0x20000..0x2A6DF, in 0x2A700..0x2B73F, in 0x2B740..0x2B81F,
    in 0x2B920..0x2CEAF, in 0xF900..0xFAFF, in 0x2F800..0x2FA1F,
    -> true
    else -> false
}
