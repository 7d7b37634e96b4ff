/** Reads what a tokenizer.json does to a text before its model: normalizers and pre-tokenizers, alone or in sequence. */
package org.edgeexperts.core.tokenizer

import org.edgeexperts.wire.shown
import java.text.Normalizer

/** Returns the part [key] of a tokenizer.json, or the parts of which it is a sequence; none where there is none. */
private fun parts(root: Settings, key: String, list: String): List<Settings> {
    fun flat(part: Settings): List<Settings> = if (part.type == "Sequence") part.each(list).flatMap(::flat) else listOf(part)
    return if (root.has(key)) flat(root.nested(key)) else emptyList()
}

internal fun readNormalizers(root: Settings): List<TextNormalizer> = parts(root, "normalizer", "normalizers").map { part ->
    when (part.type) {
        "BertNormalizer" -> bertNormalizer(part)
        "Precompiled" -> charsmap(part)
        "NFC", "NFD", "NFKC", "NFKD" -> UnicodeForm(Normalizer.Form.valueOf(part.text("type")))
        "Lowercase" -> Lowercase
        "StripAccents" -> StripMarks
        "Strip" -> Strip(left = part.truth("strip_left", default = true), right = part.truth("strip_right", default = true))
        "Prepend" -> Prepend(part.text("prepend"))
        "Replace" -> Replace(pattern(part), part.text("content"))
        else -> part.refuseType(
            "BertNormalizer, Precompiled, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace or a Sequence of them",
        )
    }
}

private fun bertNormalizer(part: Settings): TextNormalizer {
    val lowercase = part.truth("lowercase", default = true)
    return BertNormalizer(
        clean = part.truth("clean_text", default = true),
        chinese = part.truth("handle_chinese_chars", default = true),
        lowercase = lowercase,
        stripAccents = part.truth("strip_accents", default = lowercase),
    )
}

private fun charsmap(part: Settings): TextNormalizer = try {
    Charsmap.read(part.text("precompiled_charsmap"))
} catch (error: IllegalArgumentException) {
    part.refuse("precompiled_charsmap of its normalizer is no table: ${error.message}")
}

private fun pattern(part: Settings): TextPattern {
    val settings = part.nested("pattern")
    if (settings.has("String")) return TextPattern.literal(settings.text("String").ifEmpty { part.refuse("a pattern is empty") })
    return try {
        TextPattern.read(settings.text("Regex"))
    } catch (error: PatternException) {
        part.refuse("of a pattern it has what is not read here: ${error.message}")
    }
}

internal fun readPreTokenizers(root: Settings): List<PreTokenizer> {
    val parts = parts(root, "pre_tokenizer", "pretokenizers")
    return parts.mapIndexed { place, part ->
        when (part.type) {
            "BertPreTokenizer" -> BertWords
            "ByteLevel" -> ByteLevel(spaceFirst = part.truth("add_prefix_space", default = true), words = part.truth("use_regex", default = true))
            "Metaspace" -> metaspace(part, root, isFirst = place == 0)
            "WhitespaceSplit" -> WhitespaceSplit
            "Split" -> split(part)
            "Digits" -> Split(DIGITS, if (part.truth("individual_digits", default = false)) Delimiter.ISOLATED else Delimiter.CONTIGUOUS, inverted = false)
            else -> part.refuseType("BertPreTokenizer, ByteLevel, Metaspace, WhitespaceSplit, Split, Digits or a Sequence of them")
        }
    }
}

private val DIGITS by lazy { TextPattern.read("""\p{N}""") }

private fun split(part: Settings): PreTokenizer {
    val behavior = part.text("behavior")
    val delimiter = Delimiter.entries.find { it.name.replace("_", "") == behavior.uppercase() } ?: part.refuse("behavior is ${shown(behavior)}")
    return Split(pattern(part), delimiter, inverted = part.truth("invert", default = false))
}

private fun metaspace(part: Settings, root: Settings, isFirst: Boolean): PreTokenizer {
    val mark = part.text("replacement")
    if (mark.isEmpty() || mark.codePointCount(0, mark.length) != 1) part.refuse("replacement of its pre_tokenizer is ${shown(mark)}")
    // Files from before there was a prepend_scheme say false alone; the library passes over true.
    val scheme = part.text("prepend_scheme", default = "always")
    val prefix = Prefix.entries.find { it.name.lowercase() == scheme } ?: part.refuse("prepend_scheme is ${shown(scheme)}")
    if (!part.truth("add_prefix_space", default = true) && prefix != Prefix.NEVER) part.refuse("add_prefix_space and prepend_scheme disagree")
    if (prefix == Prefix.FIRST) refuseWhereTheBeginningMoves(part, root, mark, isFirst)
    return Metaspace(mark, prefix, words = part.truth("split", default = true))
}

/**
 * The library asks whether a piece's first character stood first in the text as it was written. Here that is any piece that
 * begins the text, so what drops a text's first characters is refused before a Metaspace that asks.
 */
private fun refuseWhereTheBeginningMoves(part: Settings, root: Settings, mark: String, isFirst: Boolean) {
    val moving = parts(root, "normalizer", "normalizers").find {
        when (it.type) {
            "BertNormalizer", "StripAccents" -> true
            "Strip" -> it.truth("strip_left", default = true)
            "Replace" -> !it.text("content").startsWith(mark) && it.nested("pattern").let { p -> !p.has("String") || p.text("String").length > 1 }
            else -> false
        }
    }
    if (!isFirst || moving != null) part.refuse("its Metaspace marks the beginning of a text behind ${shown(moving?.type ?: "a pre_tokenizer")}")
}
