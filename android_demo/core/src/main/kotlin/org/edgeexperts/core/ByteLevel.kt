/** What byte-level BPE (GPT-2, RoBERTa) does to a text before it merges: cut it into words, write their bytes as characters. */
package org.edgeexperts.core

/** The character that stands for each byte: itself where it can be seen, else one from U+0100 on, in the order of bytes. */
internal val BYTE_CHARACTERS: CharArray = CharArray(256).also { characters ->
    var next = 256
    for (byte in 0..255) {
        val visible = byte in 0x21..0x7E || byte in 0xA1..0xAC || byte in 0xAE..0xFF
        characters[byte] = if (visible) byte.toChar() else (next++).toChar()
    }
}

/** Returns a word's UTF-8 bytes as characters. */
internal fun byteCharacters(word: String): String {
    val bytes = word.toByteArray(Charsets.UTF_8)
    return String(CharArray(bytes.size) { BYTE_CHARACTERS[bytes[it].toInt() and 0xFF] })
}

private val ENDINGS = listOf("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")

/**
 * Cuts a text as GPT-2's pattern does:
 * `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. Written out, since the JVM's and Android's
 * pattern languages disagree about `\s`.
 */
internal fun byteLevelWords(text: String): List<String> {
    val words = ArrayList<String>()
    var start = 0
    while (start < text.length) {
        val end = wordEnd(text, start)
        words += text.substring(start, end)
        start = end
    }
    return words
}

private enum class Sort { LETTER, NUMBER, SPACE, OTHER }

private fun sort(text: String, place: Int): Sort {
    val point = text.codePointAt(place)
    return when {
        whiteSpace(point) -> Sort.SPACE
        Character.isLetter(point) -> Sort.LETTER
        else -> when (Character.getType(point).toByte()) {
            Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> Sort.NUMBER
            else -> Sort.OTHER
        }
    }
}

private fun wordEnd(text: String, start: Int): Int {
    ENDINGS.find { text.startsWith(it, start) }?.let { return start + it.length }
    val first = if (text[start] == ' ' && start + 1 < text.length) start + 1 else start
    val kind = sort(text, first)
    if (kind != Sort.SPACE) return runEnd(text, first, kind)
    val end = runEnd(text, start, Sort.SPACE)
    // A word takes the last of the white space before it, if that is a space; the pattern leaves one character in any case.
    val last = text.offsetByCodePoints(end, -1)
    return if (end == text.length || last == start) end else last
}

private fun runEnd(text: String, start: Int, kind: Sort): Int {
    var end = start
    while (end < text.length && sort(text, end) == kind) end += Character.charCount(text.codePointAt(end))
    return end
}
