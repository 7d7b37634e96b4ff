/**
 * Text to ids, as the backbone was trained: the package's tokenizer.json, WordPiece or byte-level BPE, as the
 * tokenizers library reads it.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.whole
import java.io.File
import java.io.IOException

private const val FILE_LIMIT = 64 * 1024 * 1024
private const val CHARACTERS = 256 // code points of a text that are read for each token (SPEC.md, "Tokens")

/** What makes ids of a piece of text between added tokens. */
internal interface TextModel {
    fun ids(piece: String): List<Long>
}

/** BERT's: words of a normalized text, cut into the pieces of a vocabulary. */
internal class WordPieceModel(private val normalizer: BertNormalizer, private val model: WordPiece) : TextModel {
    override fun ids(piece: String): List<Long> = words(normalizer.normalize(piece)).flatMap(model::ids)
}

/**
 * GPT-2's and RoBERTa's: words' bytes, merged.
 *
 * @param spaceFirst whether a text begins with a space, written or not.
 */
internal class ByteLevelModel(private val spaceFirst: Boolean, private val model: Bpe) : TextModel {
    override fun ids(piece: String): List<Long> {
        val text = if (spaceFirst && piece.isNotEmpty() && piece[0] != ' ') " $piece" else piece
        return byteLevelWords(text).flatMap { model.ids(byteCharacters(it)) }
    }
}

/** A package's tokenizer. No padding: a text is its own tokens, and stands among others in a row. */
public class Tokenizer internal constructor(
    private val model: TextModel,
    private val added: AddedTokens,
    private val before: LongArray,
    private val after: LongArray,
) {
    /** Special tokens that the model finds in a text by itself, too. */
    private val byModel = added.special.filter { it.codePointCount(0, it.length) > 1 && added.id(it) in model.ids(it) }

    /**
     * Returns the ids of [text] and the special tokens around it, at most [length]. Special tokens that stand in the text
     * are text.
     *
     * @throws IllegalArgumentException when not even the special tokens fit into [length].
     */
    public fun ids(text: String, length: Int): LongArray {
        val room = length - before.size - after.size
        require(room >= 0) { "length $length, ${before.size + after.size} special tokens alone need more" }
        return before + tokens(beginning(whole(text), length)).take(room) + after
    }

    private fun tokens(text: String): List<Long> = added.split(typed(text)).flatMap { (piece, token) ->
        if (token != null) listOf(token) else model.ids(piece)
    }

    /** Puts a space behind the first character of what the model would take for a special token. */
    private fun typed(text: String): String = byModel.sortedByDescending(String::length).fold(text) { left, content ->
        val second = content.offsetByCodePoints(0, 1)
        left.replace(content, content.substring(0, second) + " " + content.substring(second))
    }

    public companion object {
        /**
         * Reads a tokenizer.json: WordPiece as BERT has it, or byte-level BPE as GPT-2 and RoBERTa do.
         *
         * @throws TokenizerException when the file is none, or of a kind that is not read here.
         */
        public fun read(path: File): Tokenizer {
            val tree = try {
                parseJson(path.readBytes(), path.name, FILE_LIMIT)
            } catch (error: IOException) {
                throw TokenizerException("cannot read $path: ${error.message}; copy the package again", error)
            } catch (error: PackageException) {
                throw TokenizerException("$path is no tokenizer: ${error.message}; copy the package again", error)
            }
            return TokenizerFile(tree, path.name).build()
        }
    }
}

/** Returns the part of [text] that its first [length] tokens are made of. */
private fun beginning(text: String, length: Int): String {
    val most = CHARACTERS * length
    return if (text.codePointCount(0, text.length) <= most) text else text.substring(0, text.offsetByCodePoints(0, most))
}

/**
 * Tokens that are found in a text as they are, before anything else; ids by content.
 *
 * @property special those that are found in no text: someone typed what looks like them.
 */
internal class AddedTokens(private val ids: Map<String, Long>, val special: Set<String>) {
    private val pattern = (ids.keys - special).sortedByDescending(String::length).takeIf { it.isNotEmpty() }
        ?.let { Regex(it.joinToString("|", transform = Regex::escape)) }

    fun id(content: String): Long? = ids[content]

    /** Cuts a text at its added tokens: pieces with null, tokens with their id. */
    fun split(text: String): List<Pair<String, Long?>> {
        val pieces = ArrayList<Pair<String, Long?>>()
        var start = 0
        for (match in pattern?.findAll(text).orEmpty()) {
            pieces += text.substring(start, match.range.first) to null
            pieces += match.value to ids.getValue(match.value)
            start = match.range.last + 1
        }
        return pieces.apply { add(text.substring(start) to null) }
    }
}
