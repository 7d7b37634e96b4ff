/**
 * What readers take for one character, of as many code points as it may have: Unicode's extended grapheme clusters (UAX 29)
 * as far as a [Charsmap] needs them. It maps clusters of six bytes and more by code points in any case, so what always has
 * as many is left in parts: Hangul syllables, flags, and what a joiner or a virama joins. That shows in one case: where the
 * part behind such a joint has five bytes at most, of which the last two are a mark.
 */
package org.edgeexperts.core.tokenizer

/** Returns where the cluster that begins at [start] ends. */
internal fun clusterEnd(text: String, start: Int): Int {
    var before = text.codePointAt(start)
    var end = start + Character.charCount(before)
    while (end < text.length) {
        val point = text.codePointAt(end)
        if (!joined(before, point)) break
        before = point
        end += Character.charCount(point)
    }
    return end
}

private fun joined(before: Int, point: Int): Boolean = when {
    before == '\r'.code -> point == '\n'.code
    before < ASCII_END && point < ASCII_END -> false
    breaksOff(before) || breaksOff(point) -> false
    else -> extends(point) || prepended(before)
}

/** Grapheme_Cluster_Break is CR, LF or Control. */
private fun breaksOff(point: Int): Boolean = when (Character.getType(point).toByte()) {
    Character.CONTROL, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> true
    Character.FORMAT -> !extends(point) && !prepended(point)
    Character.UNASSIGNED -> point == 0x2065 || point in 0xFFF0..0xFFF8 || point in 0xE0000..0xE0FFF
    else -> false
}

/** Grapheme_Cluster_Break is Extend, ZWJ or SpacingMark. */
private fun extends(point: Int): Boolean = when (Character.getType(point).toByte()) {
    Character.NON_SPACING_MARK, Character.ENCLOSING_MARK -> true
    Character.COMBINING_SPACING_MARK -> point !in STANDING_MARKS
    Character.FORMAT -> point == 0x200C || point == 0x200D || point in 0xE0020..0xE007F
    else -> point == 0x0E33 || point == 0x0EB3 || point in 0xFF9E..0xFF9F || point in 0x1F3FB..0x1F3FF
}

/** Spacing marks that, by the standard's list, do not join what is before. */
private val STANDING_MARKS = setOf(
    0x102B, 0x102C, 0x1038, 0x1062, 0x1063, 0x1064, 0x1067, 0x1068, 0x1069, 0x106A, 0x106B, 0x106C, 0x106D, 0x1083,
    0x1087, 0x1088, 0x1089, 0x108A, 0x108B, 0x108C, 0x108F, 0x109A, 0x109B, 0x109C, 0x1A61, 0x1A63, 0x1A64, 0xAA7B, 0xAA7D,
    0x11720, 0x11721,
)

/** Grapheme_Cluster_Break is Prepend. */
private fun prepended(point: Int): Boolean = when (point) {
    in 0x0600..0x0605, 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x0D4E, 0x110BD, 0x110CD, 0x111C2, 0x111C3, 0x113D1, 0x1193F,
    0x11941, in 0x11A84..0x11A89, 0x11D46, 0x11F02,
    -> true
    else -> false
}
