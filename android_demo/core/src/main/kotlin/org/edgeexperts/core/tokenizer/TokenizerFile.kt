/** Reads the tree of a tokenizer.json; what would be tokenized in another way than by the tokenizers library is refused. */
package org.edgeexperts.core.tokenizer

import org.edgeexperts.core.TokenizerException

/**
 * What a tokenizer.json says.
 *
 * @property before ids that stand before every text.
 * @property after ids that stand behind every text.
 */
internal class TokenizerParts(
    val pipeline: TextPipeline,
    val added: AddedTokens,
    val before: LongArray,
    val after: LongArray,
)

/** @throws TokenizerException saying what is not read here. */
internal fun readTokenizer(tree: Any?, source: String): TokenizerParts {
    val root = Settings(tree as? Map<*, *> ?: throw TokenizerException("$source is no tokenizer: it is no object"), "root", source)
    val model = readModel(root.nested("model"))
    val pipeline = TextPipeline(readNormalizers(root), readPreTokenizers(root), model)
    val (before, after) = if (root.has("post_processor")) frame(root.nested("post_processor")) else NOTHING
    return TokenizerParts(pipeline, addedTokens(root), before.toLongArray(), after.toLongArray())
}

private typealias Frame = Pair<List<Long>, List<Long>>

private val NOTHING: Frame = emptyList<Long>() to emptyList()

private fun addedTokens(root: Settings): AddedTokens = AddedTokens(
    root.each("added_tokens", "added token").map { token ->
        val isSpecial = token.truth("special", default = false)
        val traits = listOf("single_word", "lstrip", "rstrip", "normalized").filter { token.truth(it, default = false) }
        if (traits.isNotEmpty() && !isSpecial) token.refuse("an added token is $traits") // special ones are found in no text
        AddedToken(token.text("content"), token.id("id"), isSpecial, isNormalized = "normalized" in traits)
    },
)

/** Returns the ids that stand before and behind every text. */
private fun frame(settings: Settings): Frame = when (settings.type) {
    "ByteLevel" -> NOTHING
    "BertProcessing", "RobertaProcessing" -> listOf(pairedId(settings, "cls")) to listOf(pairedId(settings, "sep"))
    "TemplateProcessing" -> template(settings)
    "Sequence" -> settings.each("processors").map(::frame).filter { it != NOTHING }.let { frames ->
        if (frames.size > 1) settings.refuse("its post_processor adds tokens twice")
        frames.singleOrNull() ?: NOTHING
    }
    else -> settings.refuseType("TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel or a Sequence of them")
}

/** An id in a list behind its text. */
private fun pairedId(settings: Settings, key: String): Long =
    Settings.idOf(settings.list(key).getOrNull(1)) ?: settings.refuse("$key of its post_processor has no id")

private fun template(settings: Settings): Frame {
    val specials = settings.nested("special_tokens")
    val single = settings.each("single")
    val place = single.indexOfFirst { it.has("Sequence") }
    if (place < 0 || single.count { it.has("Sequence") } > 1) settings.refuse("its template has no place for a text, or several")
    fun ids(part: List<Settings>) = part.flatMap { specials.nested(it.nested("SpecialToken").text("id")).ids("ids") }
    return ids(single.subList(0, place)) to ids(single.subList(place + 1, single.size))
}
