/** Small changes to a text before it is cut; those of BERT and SentencePiece have files of their own. */
package org.edgeexperts.core.tokenizer

import java.text.Normalizer

/** Composes or decomposes characters, as one of Unicode's four forms. */
internal class UnicodeForm(private val form: Normalizer.Form) : TextNormalizer {
    override fun normalize(text: String): String = Normalizer.normalize(text, form)
}

internal object Lowercase : TextNormalizer {
    override fun normalize(text: String): String = lowered(text)
}

/** Drops marks of every kind. */
internal object StripMarks : TextNormalizer {
    override fun normalize(text: String): String = mapCodePoints(text) { point -> if (mark(point)) "" else null }

    private fun mark(point: Int) = when (Character.getType(point).toByte()) {
        Character.NON_SPACING_MARK, Character.COMBINING_SPACING_MARK, Character.ENCLOSING_MARK -> true
        else -> false
    }
}

/** Drops white space at either end. */
internal class Strip(private val left: Boolean, private val right: Boolean) : TextNormalizer {
    override fun normalize(text: String): String { // all white space has one UTF-16 unit
        val start = if (left) text.indexOfFirst { !whiteSpace(it.code) }.let { if (it < 0) text.length else it } else 0
        val end = if (right) text.indexOfLast { !whiteSpace(it.code) } + 1 else text.length
        return text.substring(start, maxOf(start, end))
    }
}

internal class Prepend(private val content: String) : TextNormalizer {
    override fun normalize(text: String): String = if (text.isEmpty()) text else content + text
}

internal class Replace(private val pattern: TextPattern, private val content: String) : TextNormalizer {
    override fun normalize(text: String): String =
        pattern.cuts(text).joinToString("") { if (it.matched) content else it.of(text) }
}
