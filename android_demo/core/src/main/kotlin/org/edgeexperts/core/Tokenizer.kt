/**
 * Text to ids, as the backbone was trained: the package's tokenizer.json of the WordPiece kind (BERT and its family),
 * read as the tokenizers library reads it.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.shown
import org.edgeexperts.wire.whole
import java.io.File
import java.io.IOException

private const val FILE_LIMIT = 64 * 1024 * 1024
private const val CHARACTERS = 256 // code points of a text that are read for each token (SPEC.md, "Tokens")

/** A package's tokenizer. No padding: a text is its own tokens, and stands among others in a row. */
public class Tokenizer private constructor(
    private val normalizer: BertNormalizer,
    private val model: WordPiece,
    private val added: AddedTokens,
    private val before: LongArray,
    private val after: LongArray,
) {
    /** Special tokens that the model finds in a text by itself, too. */
    private val byModel = added.special.filter { it.codePointCount(0, it.length) > 1 && added.id(it) in ids(it) }

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
        if (token != null) listOf(token) else ids(piece)
    }

    private fun ids(piece: String): List<Long> = words(normalizer.normalize(piece)).flatMap(model::ids)

    /** Puts a space behind the first character of what the model would take for a special token. */
    private fun typed(text: String): String = byModel.sortedByDescending(String::length).fold(text) { left, content ->
        val second = content.offsetByCodePoints(0, 1)
        left.replace(content, content.substring(0, second) + " " + content.substring(second))
    }

    public companion object {
        /**
         * Reads a tokenizer.json.
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

        internal fun of(
            normalizer: BertNormalizer,
            model: WordPiece,
            added: AddedTokens,
            frame: Pair<List<Long>, List<Long>>,
        ): Tokenizer {
            val (before, after) = frame
            return Tokenizer(normalizer, model, added, before.toLongArray(), after.toLongArray())
        }
    }
}

/** Returns the part of [text] that its first [length] tokens are made of. */
private fun beginning(text: String, length: Int): String {
    val most = CHARACTERS * length
    return if (text.codePointCount(0, text.length) <= most) text else text.substring(0, text.offsetByCodePoints(0, most))
}

/** Reads the tree of a tokenizer.json; what would be tokenized in another way than here is refused. */
private class TokenizerFile(tree: Any?, private val source: String) {
    private val root = tree as? Map<*, *> ?: refuse("it is no object")

    fun build(): Tokenizer {
        expectType("pre_tokenizer", "BertPreTokenizer")
        val model = expectType("model", "WordPiece")
        val vocabulary = wholes(model["vocab"], "the vocabulary")
        val unknown = model["unk_token"] as? String
        val wordPiece = WordPiece(
            vocabulary = vocabulary,
            unknown = vocabulary[unknown] ?: refuse("its vocabulary lacks ${shown(unknown)}"),
            prefix = model["continuing_subword_prefix"] as? String ?: "##",
            longest = (model["max_input_chars_per_word"] as? Long ?: 100).toInt(),
        )
        return Tokenizer.of(normalizer(), wordPiece, added(), frame())
    }

    private fun refuse(why: String): Nothing =
        throw TokenizerException("$source is no tokenizer that is read here: $why; WordPiece is")

    private fun expectType(part: String, type: String): Map<*, *> {
        val settings = root[part] as? Map<*, *> ?: refuse("it has no $part")
        if (settings["type"] != type) refuse("its $part is ${shown(settings["type"])}, expected $type")
        return settings
    }

    private fun wholes(tree: Any?, what: String): Map<String, Long> =
        (tree as? Map<*, *> ?: refuse("$what is no object")).entries.associate { (key, value) ->
            (key as String) to (value as? Long ?: refuse("$what holds ${shown(value)}"))
        }

    private fun normalizer(): BertNormalizer {
        val settings = expectType("normalizer", "BertNormalizer")
        val lowercase = settings["lowercase"] as? Boolean ?: true
        return BertNormalizer(
            clean = settings["clean_text"] as? Boolean ?: true,
            chinese = settings["handle_chinese_chars"] as? Boolean ?: true,
            lowercase = lowercase,
            stripAccents = settings["strip_accents"] as? Boolean ?: lowercase,
        )
    }

    private fun added(): AddedTokens {
        val listed = root["added_tokens"] as? List<*> ?: emptyList<Any?>()
        val tokens = listed.map { it as? Map<*, *> ?: refuse("an added token is no object") }
        for (token in tokens) {
            val traits = listOf("single_word", "lstrip", "rstrip", "normalized").filter { token[it] == true }
            if (traits.isNotEmpty()) refuse("an added token is $traits")
        }
        val special = tokens.filter { it["special"] == true }.map { it["content"] as String }.toSet()
        return AddedTokens(tokens.associate { (it["content"] as String) to (it["id"] as Long) }, special)
    }

    /** Returns the ids that stand before and after every text. */
    private fun frame(): Pair<List<Long>, List<Long>> {
        val template = expectType("post_processor", "TemplateProcessing")
        val specials = template["special_tokens"] as? Map<*, *> ?: refuse("its template has no special_tokens")
        val single = (template["single"] as? List<*>)?.map { it as Map<*, *> } ?: refuse("its template is none")
        val place = single.indexOfFirst { "Sequence" in it }
        if (place < 0) refuse("its template has no place for a text")
        fun ids(part: List<Map<*, *>>) = part.flatMap { item ->
            val name = (item["SpecialToken"] as? Map<*, *>)?.get("id")
            val special = specials[name] as? Map<*, *> ?: refuse("its template names ${shown(name)}")
            (special["ids"] as List<*>).map { it as Long }
        }
        return ids(single.subList(0, place)) to ids(single.subList(place + 1, single.size))
    }
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
