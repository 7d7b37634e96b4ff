/** Reads the model of a tokenizer.json. */
package org.edgeexperts.core.tokenizer

import org.edgeexperts.wire.shown

internal fun readModel(settings: Settings): WordModel = when (settings.type) {
    "WordPiece" -> wordPiece(settings)
    "BPE" -> bpe(settings)
    "Unigram" -> unigram(settings)
    else -> settings.refuseType("WordPiece, BPE or Unigram")
}

private fun idOf(vocabulary: Map<String, Long>, piece: String, settings: Settings) =
    vocabulary[piece] ?: settings.refuse("its vocabulary lacks ${shown(piece)}")

private fun wordPiece(settings: Settings): WordModel {
    val vocabulary = settings.vocabulary("vocab")
    return WordPiece(
        vocabulary = vocabulary,
        unknown = idOf(vocabulary, settings.text("unk_token"), settings),
        prefix = settings.text("continuing_subword_prefix", default = "##"),
        longest = settings.id("max_input_chars_per_word", default = 100).toInt(),
    )
}

private fun bpe(settings: Settings): WordModel {
    settings.expect("dropout")
    settings.expect("continuing_subword_prefix", "")
    settings.expect("end_of_word_suffix", "")
    val vocabulary = settings.vocabulary("vocab")
    val merges = settings.list("merges")
    val unknown = Unknown(
        id = if (settings.has("unk_token")) idOf(vocabulary, settings.text("unk_token"), settings) else null,
        fused = settings.truth("fuse_unk", default = false),
        bytes = settings.truth("byte_fallback", default = false),
    )
    val pairs = merges.asSequence().map { merge(it, settings) }.onEach { (left, right) ->
        for (piece in listOf(left, right, left + right)) idOf(vocabulary, piece, settings)
    }
    return Bpe(vocabulary, pairs, merges.size, wholeWords = settings.truth("ignore_merges", default = false), unknown)
}

/** A pair as a list of two, or, in older files, two pieces with a space between. */
private fun merge(item: Any?, settings: Settings): Pair<String, String> {
    val parts = (item as? String)?.split(' ') ?: (item as? List<*>).orEmpty()
    val pieces = parts.filterIsInstance<String>()
    if (pieces.size != 2 || parts.size != 2) settings.refuse("a merge is ${shown(item)}")
    return pieces[0] to pieces[1]
}

private fun unigram(settings: Settings): WordModel {
    val items = settings.list("vocab").map { it as? List<*> ?: settings.refuse("a piece is ${shown(it)}") }
    val pieces = items.map { it.getOrNull(0) as? String ?: settings.refuse("a piece is ${shown(it)}") }
    val scores = DoubleArray(items.size) {
        (items[it].getOrNull(1) as? Number)?.toDouble() ?: settings.refuse("a piece is ${shown(items[it])}")
    }
    val unknown = settings.id("unk_id").toInt()
    if (unknown >= pieces.size) settings.refuse("its unknown piece is $unknown of ${pieces.size}")
    return Unigram(pieces, scores, unknown, byteFallback = settings.truth("byte_fallback", default = false))
}
