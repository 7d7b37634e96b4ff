/** Text to ids, as the backbone was trained: the package's tokenizer.json as the tokenizers library reads it. */
package org.edgeexperts.core

import org.edgeexperts.core.tokenizer.TextFinder
import org.edgeexperts.core.tokenizer.TokenizerParts
import org.edgeexperts.core.tokenizer.joined
import org.edgeexperts.core.tokenizer.readTokenizer
import org.edgeexperts.core.tokenizer.score
import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.whole
import java.io.File
import java.io.IOException

private const val FILE_LIMIT = 64 * 1024 * 1024
private const val CHARACTERS = 256 // code points of a text that are read for each token (SPEC.md, "Tokens")

/** A package's tokenizer. No padding: a text is its own tokens, and stands among others in a row. */
public class Tokenizer internal constructor(private val parts: TokenizerParts) {
    /** Special tokens that the model finds in a text by itself, too. */
    private val byModel = TextFinder(
        parts.added.special.filter { it.content.codePointCount(0, it.content.length) > 1 && it.id in tokens(it.content) }
            .map { it.content },
    )

    /**
     * Returns the ids of [text] and the special tokens around it, at most [length]. Special tokens that stand in the text
     * are text.
     *
     * @throws IllegalArgumentException when not even the special tokens fit into [length].
     */
    public fun ids(text: String, length: Int): LongArray {
        val around = parts.before.size + parts.after.size
        require(length >= around) { "length $length, $around special tokens alone need more" }
        return parts.before + tokens(typed(beginning(whole(text), length)), length - around) + parts.after
    }

    private fun tokens(text: String, most: Int = Int.MAX_VALUE): LongArray {
        val ids = ArrayList<LongArray>()
        var count = 0
        for (piece in parts.added.split(text)) {
            if (count >= most) break
            ids += piece.token?.let { longArrayOf(it.id) }
                ?: parts.pipeline.ids(text.substring(piece.start, piece.end), begins = piece.start == 0, most - count)
            count += ids.last().size
        }
        return joined(ids, count)
    }

    /** Puts a space behind the first character of what the model would take for a special token. */
    private fun typed(text: String): String {
        val apart = StringBuilder(text.length)
        var start = 0
        byModel.forEach(text) { place, content ->
            val second = place + Character.charCount(content.codePointAt(0))
            apart.append(text, start, second).append(' ')
            start = second
        }
        return if (start == 0) text else apart.append(text, start, text.length).toString()
    }

    public companion object {
        /**
         * Reads a tokenizer.json: WordPiece, byte pair encoding or Unigram, with the parts that docs/android.md lists.
         *
         * @throws TokenizerException when the file is none, or has what is not read here.
         */
        public fun read(path: File): Tokenizer {
            val tree = try {
                parseJson(path.readBytes(), path.name, FILE_LIMIT, ::score)
            } catch (error: IOException) {
                throw TokenizerException("cannot read $path: ${error.message}; copy the package again", error)
            } catch (error: PackageException) {
                throw TokenizerException("$path is no tokenizer: ${error.message}; copy the package again", error)
            }
            return Tokenizer(readTokenizer(tree, path.name))
        }
    }
}

/** Returns the part of [text] that its first [length] tokens are made of. */
private fun beginning(text: String, length: Int): String {
    val most = CHARACTERS * length
    return if (text.codePointCount(0, text.length) <= most) text else text.substring(0, text.offsetByCodePoints(0, most))
}
