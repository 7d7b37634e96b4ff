/** Reads the tree of a tokenizer.json; what would be tokenized in another way than here is refused. */
package org.edgeexperts.core

import org.edgeexperts.wire.shown

internal class TokenizerFile(tree: Any?, private val source: String) {
    private val root = tree as? Map<*, *> ?: refuse("it is no object")

    /** @throws TokenizerException saying what is not read here. */
    fun build(): Tokenizer {
        val settings = root["model"] as? Map<*, *> ?: refuse("it has no model")
        val model = when (settings["type"]) {
            "WordPiece" -> wordPiece(settings)
            "BPE" -> byteLevel(settings)
            else -> refuse("its model is ${shown(settings["type"])}, expected WordPiece or BPE")
        }
        val (before, after) = frame()
        return Tokenizer(model, added(), before.toLongArray(), after.toLongArray())
    }

    private fun refuse(why: String): Nothing =
        throw TokenizerException("$source is no tokenizer that is read here: $why; WordPiece and byte-level BPE are")

    private fun expectType(part: String, type: String): Map<*, *> {
        val settings = root[part] as? Map<*, *> ?: refuse("it has no $part")
        if (settings["type"] != type) refuse("its $part is ${shown(settings["type"])}, expected $type")
        return settings
    }

    private fun wholes(tree: Any?, what: String): Map<String, Long> =
        (tree as? Map<*, *> ?: refuse("$what is no object")).entries.associate { (key, value) ->
            (key as String) to (value as? Long ?: refuse("$what holds ${shown(value)}"))
        }

    // --- WordPiece ------------------------------------------------------------------------------------------------

    private fun wordPiece(model: Map<*, *>): TextModel {
        expectType("pre_tokenizer", "BertPreTokenizer")
        val vocabulary = wholes(model["vocab"], "the vocabulary")
        val unknown = model["unk_token"] as? String
        val wordPiece = WordPiece(
            vocabulary = vocabulary,
            unknown = vocabulary[unknown] ?: refuse("its vocabulary lacks ${shown(unknown)}"),
            prefix = model["continuing_subword_prefix"] as? String ?: "##",
            longest = (model["max_input_chars_per_word"] as? Long ?: 100).toInt(),
        )
        return WordPieceModel(normalizer(), wordPiece)
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

    // --- byte-level BPE ---------------------------------------------------------------------------------------------

    private fun byteLevel(model: Map<*, *>): TextModel {
        if (root["normalizer"] != null) refuse("it has a normalizer, byte-level BPE none")
        val split = expectType("pre_tokenizer", "ByteLevel")
        if (split["use_regex"] == false) refuse("its pre_tokenizer does not cut words")
        for (name in listOf("dropout", "continuing_subword_prefix", "end_of_word_suffix")) {
            if (model[name] != null && model[name] != "") refuse("its model has $name ${shown(model[name])}")
        }
        if (model["byte_fallback"] == true) refuse("its model has byte_fallback")
        val vocabulary = wholes(model["vocab"], "the vocabulary")
        BYTE_CHARACTERS.find { "$it" !in vocabulary }?.let { refuse("its vocabulary lacks ${shown("$it")}, a byte") }
        val merges = (model["merges"] as? List<*> ?: refuse("it has no merges")).map(::merge)
        merges.find { (left, right) -> left !in vocabulary || right !in vocabulary || left + right !in vocabulary }
            ?.let { (left, right) -> refuse("its vocabulary lacks a part of the merge ${shown("$left $right")}") }
        val bpe = Bpe(vocabulary, merges, wholeWords = model["ignore_merges"] == true)
        return ByteLevelModel(spaceFirst = split["add_prefix_space"] as? Boolean ?: true, bpe)
    }

    /** A pair as a list of two, or, in older files, two pieces with a space between. */
    private fun merge(item: Any?): Pair<String, String> {
        val parts = (item as? String)?.split(' ') ?: (item as? List<*>).orEmpty()
        val (left, right) = parts.map { it as? String }.takeIf { it.size == 2 } ?: refuse("a merge is ${shown(item)}")
        return (left ?: refuse("a merge is ${shown(item)}")) to (right ?: refuse("a merge is ${shown(item)}"))
    }

    // --- tokens around and between ----------------------------------------------------------------------------------

    private fun added(): AddedTokens {
        val listed = root["added_tokens"] as? List<*> ?: emptyList<Any?>()
        val tokens = listed.map { it as? Map<*, *> ?: refuse("an added token is no object") }
        for (token in tokens) {
            if (token["special"] == true) continue // it is looked for in no text
            val traits = listOf("single_word", "lstrip", "rstrip", "normalized").filter { token[it] == true }
            if (traits.isNotEmpty()) refuse("an added token is $traits")
        }
        val special = tokens.filter { it["special"] == true }.map { it["content"] as String }.toSet()
        return AddedTokens(tokens.associate { (it["content"] as String) to (it["id"] as Long) }, special)
    }

    /** Returns the ids that stand before and after every text. */
    private fun frame(): Pair<List<Long>, List<Long>> {
        val settings = root["post_processor"] as? Map<*, *>
        return when (settings?.get("type")) {
            null, "ByteLevel" -> emptyList<Long>() to emptyList()
            "BertProcessing", "RobertaProcessing" -> listOf(pairedId(settings["cls"])) to listOf(pairedId(settings["sep"]))
            else -> template(expectType("post_processor", "TemplateProcessing"))
        }
    }

    private fun pairedId(item: Any?): Long = (item as? List<*>)?.getOrNull(1) as? Long ?: refuse("a token around texts is ${shown(item)}")

    private fun template(template: Map<*, *>): Pair<List<Long>, List<Long>> {
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
