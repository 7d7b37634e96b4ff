/** What byte-level BPE (GPT-2, RoBERTa, Llama 3, Qwen) does to a text before it merges: bytes are written as characters. */
package org.edgeexperts.core.tokenizer

/** The character that stands for each byte: itself where it can be seen, else one from U+0100 on, in the order of bytes. */
private val BYTE_CHARACTERS: CharArray = CharArray(256).also { characters ->
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

private val GPT2_WORDS by lazy {
    TextPattern.read("""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
}

/**
 * @param spaceFirst whether every piece begins with a space, written or not.
 * @param words whether pieces are cut into words as GPT-2 does.
 */
internal class ByteLevel(private val spaceFirst: Boolean, private val words: Boolean) : PreTokenizer {
    override fun cut(piece: String, begins: Boolean): List<String> {
        val text = if (spaceFirst && piece[0] != ' ') " $piece" else piece
        val cut = if (words) GPT2_WORDS.cuts(text).map { it.of(text) } else listOf(text)
        return cut.map(::byteCharacters)
    }
}
