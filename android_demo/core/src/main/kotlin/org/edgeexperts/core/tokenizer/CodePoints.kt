/** Texts by code points, and what the tokenizers' rules ask of one. */
package org.edgeexperts.core.tokenizer

import java.util.Locale

internal inline fun forEachCodePoint(text: String, use: (point: Int, place: Int, end: Int) -> Unit) {
    var place = 0
    while (place < text.length) {
        val point = text.codePointAt(place)
        val end = place + Character.charCount(point)
        use(point, place, end)
        place = end
    }
}

/** Replaces every code point for which [change] returns a text. */
internal inline fun mapCodePoints(text: String, change: (Int) -> String?): String {
    val mapped = StringBuilder(text.length)
    forEachCodePoint(text) { point, _, _ ->
        val changed = change(point)
        if (changed == null) mapped.appendCodePoint(point) else mapped.append(changed)
    }
    return mapped.toString()
}

internal fun string(point: Int): String = String(Character.toChars(point))

/** Unicode's White_Space, which no version has changed since 6.3. */
internal fun whiteSpace(point: Int): Boolean = when (point) {
    in 0x09..0x0D, 0x20, 0x85, 0xA0, 0x1680, in 0x2000..0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000 -> true
    else -> false
}

/** Lowers code point by code point, so that a sigma at a word's end becomes what any other sigma does. */
internal fun lowered(text: String): String = mapCodePoints(text) { point -> string(point).lowercase(Locale.ROOT) }
