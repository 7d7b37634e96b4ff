/** What a pattern is made of: sets of code points, and matchers that try what stands behind them. */
package org.edgeexperts.core.tokenizer

/** Returns where a match from [at] on ends, or -1. */
internal fun interface Matcher {
    fun end(text: String, at: Int): Int
}

/** A set of code points. */
internal fun interface CodePoints {
    fun has(point: Int): Boolean
}

internal class OnePoint(val point: Int) : CodePoints {
    override fun has(point: Int): Boolean = point == this.point
}

internal const val ASCII_END = 0x80

/** A set, with its ASCII part written out: most characters of most texts are asked for there. */
internal class TabledPoints(private val all: CodePoints) : CodePoints {
    private val ascii = BooleanArray(ASCII_END, all::has)

    override fun has(point: Int): Boolean = if (point < ASCII_END) ascii[point] else all.has(point)
}

/** Tries one matcher after the other. */
internal class AnyOf(private val matchers: List<Matcher>) : Matcher {
    override fun end(text: String, at: Int): Int {
        for (matcher in matchers) matcher.end(text, at).let { if (it >= 0) return it }
        return -1
    }
}

/** Takes [least] to [most] characters of a set, as many as there are, and gives back what [behind] needs. */
internal class Repeated(
    private val points: CodePoints,
    private val least: Int,
    private val most: Int,
    private val behind: Matcher,
) : Matcher {
    override fun end(text: String, at: Int): Int {
        var place = at
        var count = 0
        while (count < most && place < text.length) {
            val point = text.codePointAt(place)
            if (!points.has(point)) break
            place += Character.charCount(point)
            count++
        }
        while (count >= least) {
            val end = behind.end(text, place)
            if (end >= 0 || count == 0) return end
            place = text.offsetByCodePoints(place, -1)
            count--
        }
        return -1
    }
}

/** Looks ahead: takes nothing, and goes on where [ahead] matches, or where it does not. */
internal class Look(private val ahead: Matcher, private val wanted: Boolean, private val behind: Matcher) : Matcher {
    override fun end(text: String, at: Int): Int = if ((ahead.end(text, at) >= 0) == wanted) behind.end(text, at) else -1
}

/** Whether two code points differ in case at most: `s`, `S` and U+017F, the long s. */
internal fun alikeButCase(one: Int, other: Int): Boolean = one == other || folded(one) == folded(other)

private fun folded(point: Int) = Character.toLowerCase(Character.toUpperCase(point))

private val CATEGORIES: Map<String, Byte> = mapOf(
    "Lu" to Character.UPPERCASE_LETTER, "Ll" to Character.LOWERCASE_LETTER, "Lt" to Character.TITLECASE_LETTER,
    "Lm" to Character.MODIFIER_LETTER, "Lo" to Character.OTHER_LETTER, "Mn" to Character.NON_SPACING_MARK,
    "Me" to Character.ENCLOSING_MARK, "Mc" to Character.COMBINING_SPACING_MARK, "Nd" to Character.DECIMAL_DIGIT_NUMBER,
    "Nl" to Character.LETTER_NUMBER, "No" to Character.OTHER_NUMBER, "Zs" to Character.SPACE_SEPARATOR,
    "Zl" to Character.LINE_SEPARATOR, "Zp" to Character.PARAGRAPH_SEPARATOR, "Pd" to Character.DASH_PUNCTUATION,
    "Ps" to Character.START_PUNCTUATION, "Pe" to Character.END_PUNCTUATION, "Pc" to Character.CONNECTOR_PUNCTUATION,
    "Po" to Character.OTHER_PUNCTUATION, "Pi" to Character.INITIAL_QUOTE_PUNCTUATION,
    "Pf" to Character.FINAL_QUOTE_PUNCTUATION, "Sm" to Character.MATH_SYMBOL, "Sc" to Character.CURRENCY_SYMBOL,
    "Sk" to Character.MODIFIER_SYMBOL, "So" to Character.OTHER_SYMBOL,
)

/** Returns the code points of a general category, of one letter or two, or null for another name. */
internal fun category(name: String): CodePoints? {
    val types = CATEGORIES.filterKeys { it == name || name.length == 1 && it.startsWith(name) }.values
    val bits = types.fold(0) { sum, type -> sum or (1 shl type.toInt()) }
    return if (bits == 0) null else CodePoints { point -> bits ushr Character.getType(point) and 1 == 1 }
}
