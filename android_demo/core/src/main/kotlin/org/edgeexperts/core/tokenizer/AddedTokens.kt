package org.edgeexperts.core.tokenizer

/**
 * A token that is looked for in a text as it stands, before anything else.
 *
 * @property isSpecial found in no text: someone typed what looks like it.
 * @property isNormalized looked for in normalized text; only special ones are here.
 */
internal class AddedToken(val content: String, val id: Long, val isSpecial: Boolean, val isNormalized: Boolean)

/**
 * A piece of a text.
 *
 * @property token the added token that it is, or null.
 */
internal class Piece(val start: Int, val end: Int, val token: AddedToken?)

internal class AddedTokens(tokens: List<AddedToken>) {
    val special: List<AddedToken> = tokens.filter { it.isSpecial && it.content.isNotEmpty() }
    private val byContent = tokens.filterNot { it.isNormalized }.associateBy { it.content }
    private val finder = if (byContent.values.all { it.isSpecial }) TextFinder(emptyList()) else TextFinder(byContent.keys)

    /** Cuts a text at its added tokens. A special one stays text, and so does another that begins within it. */
    fun split(text: String): List<Piece> {
        val pieces = ArrayList<Piece>()
        var start = 0
        finder.forEach(text) { place, content ->
            val token = byContent.getValue(content)
            if (token.isSpecial) return@forEach
            if (place > start) pieces += Piece(start, place, null)
            start = place + content.length
            pieces += Piece(place, start, token)
        }
        if (text.length > start) pieces += Piece(start, text.length, null)
        return pieces
    }
}

/** Finds texts in another: from the left, of those that begin at one place the longest, none within another. */
internal class TextFinder(contents: Collection<String>) {
    private val byFirst = contents.filter { it.isNotEmpty() }.groupBy { it[0] }.mapValues { (_, those) -> those.sortedByDescending { it.length } }

    inline fun forEach(text: String, use: (place: Int, content: String) -> Unit) {
        var place = 0
        while (place < text.length && byFirst.isNotEmpty()) {
            val content = byFirst[text[place]]?.find { text.startsWith(it, place) }
            if (content != null) use(place, content)
            place += content?.length ?: 1
        }
    }
}
