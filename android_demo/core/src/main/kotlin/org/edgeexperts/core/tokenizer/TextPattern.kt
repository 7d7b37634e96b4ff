package org.edgeexperts.core.tokenizer

/**
 * A part of a text.
 *
 * @property matched whether a pattern matched it; the rest is what stands between.
 */
internal class Cut(val start: Int, val end: Int, val matched: Boolean) {
    fun of(text: String): String = text.substring(start, end)
}

/**
 * A regular expression that matches at least one character, read and matched here: the languages of the JVM and of Android
 * disagree with each other, and with Oniguruma's that tokenizers are written in, about `\s` and about letters that differ
 * in case alone. [PatternReader] says what is read.
 */
internal class TextPattern private constructor(private val matcher: Matcher) {
    /** Cuts a text into what the pattern matches, from the left, and what stands between; no part is empty. */
    fun cuts(text: String): List<Cut> {
        val cuts = ArrayList<Cut>()
        var start = 0
        var at = 0
        while (at < text.length) {
            val end = matcher.end(text, at)
            if (end < 0) {
                at += Character.charCount(text.codePointAt(at))
                continue
            }
            if (at > start) cuts += Cut(start, at, matched = false)
            cuts += Cut(at, end, matched = true)
            start = end
            at = end
        }
        if (text.length > start) cuts += Cut(start, text.length, matched = false)
        return cuts
    }

    companion object {
        /** @throws PatternException when the pattern has what is not read here. */
        fun read(pattern: String): TextPattern = TextPattern(PatternReader(pattern).read())

        /** A pattern that matches [content], which is not empty, as it stands. */
        fun literal(content: String): TextPattern =
            TextPattern { text, at -> if (text.startsWith(content, at)) at + content.length else -1 }
    }
}

/** A pattern has what is not read here; the text says what, and where. */
internal class PatternException(message: String) : Exception(message)
