/**
 * Text for people that came from elsewhere: short, and without characters that steer a terminal or turn a line around.
 *
 * The rule names code points, not the category tables of one Unicode version, so that every language decides alike.
 */
package org.edgeexperts.wire

private fun unfit(char: Char): Boolean = when (char.code) {
    in 0x00..0x1F, in 0x7F..0x9F -> true // C0, DEL and C1 controls
    0x061C, 0x200E, 0x200F, in 0x2028..0x202E, in 0x2066..0x2069 -> true // separators, marks of direction
    else -> false
}

/** Returns whether [text] is one line of at most [limit] UTF-8 bytes that may be shown as it is. */
public fun plain(text: String, limit: Int): Boolean =
    text.none(::unfit) && !loneSurrogate(text) && text.toByteArray(Charsets.UTF_8).size <= limit

/** Returns whether half of a surrogate pair stands alone in [text]: such a text has no UTF-8. */
internal fun loneSurrogate(text: String): Boolean {
    var place = 0
    while (place < text.length) {
        val char = text[place]
        if (char.isLowSurrogate()) return true
        if (char.isHighSurrogate()) {
            if (place + 1 >= text.length || !text[place + 1].isLowSurrogate()) return true
            place++
        }
        place++
    }
    return false
}

/** Returns [text] with U+FFFD in place of each half of a surrogate pair that stands alone. */
public fun whole(text: String): String {
    if (!loneSurrogate(text)) return text
    val whole = StringBuilder(text.length)
    var place = 0
    while (place < text.length) {
        val point = text.codePointAt(place)
        whole.appendCodePoint(if (point in 0xD800..0xDFFF) 0xFFFD else point)
        place += Character.charCount(point)
    }
    return whole.toString()
}

/** Returns [value] as one short ASCII line for an error message, whatever it holds. */
public fun shown(value: Any?, limit: Int = 80): String {
    val text = StringBuilder()
    for (char in if (value is String) "\"$value\"" else value.toString()) {
        if (text.length > limit) break
        text.append(if (char.code in 0x20..0x7E) char.toString() else "\\u%04x".format(char.code))
    }
    return if (text.length <= limit) text.toString() else text.substring(0, limit - 1) + "…"
}
