package org.edgeexperts.core.tokenizer

import org.edgeexperts.wire.shown

private const val PATTERN_SHOWN = 300
private const val PATTERN_LIMIT = 1024 // characters; o200k has some 330

/**
 * A part of a pattern.
 *
 * @property least characters that it matches at least.
 * @property before returns what matches the part and then what stands behind it.
 */
private class Element(val least: Int, val before: (Matcher) -> Matcher)

/**
 * Reads a regular expression of Oniguruma's language as tokenizers use it: alternatives; groups `(?:…)` and, with ASCII
 * characters alone, `(?i:…)`, which may be optional; looks ahead `(?=…)`, `(?!…)`; characters and classes `[…]`, `[^…]`
 * with `?`, `*`, `+`, `{m}`, `{m,}`, `{m,n}`; `\s`, `\S`, and `\p{…}`, `\P{…}` with general categories.
 */
internal class PatternReader(private val pattern: String) {
    private var place = 0
    private var anyCase = false

    /** @throws PatternException */
    fun read(): Matcher {
        if (pattern.length > PATTERN_LIMIT) refuse("over $PATTERN_LIMIT characters")
        val whole = alternatives()
        if (place < pattern.length) refuse(")")
        if (whole.least == 0) refuse("a match of nothing")
        return whole.before { _, at -> at }
    }

    private fun refuse(what: String): Nothing =
        throw PatternException("${shown(what)} before character $place of the pattern ${shown(pattern, PATTERN_SHOWN)}")

    private fun take(text: String): Boolean = pattern.startsWith(text, place).also { if (it) place += text.length }

    private fun sees(characters: String): Boolean = place < pattern.length && pattern[place] in characters

    private fun next(): Int {
        if (place >= pattern.length) refuse("the end")
        return pattern.codePointAt(place).also { place += Character.charCount(it) }
    }

    // --- alternatives, groups -----------------------------------------------------------------------------------------

    private fun alternatives(): Element {
        val read = ArrayList<Element>()
        do read += sequence() while (take("|"))
        return anyOf(read)
    }

    private fun anyOf(elements: List<Element>) = elements.singleOrNull() ?: Element(elements.minOf { it.least }) { behind ->
        AnyOf(elements.map { it.before(behind) })
    }

    private fun sequence(): Element {
        val read = ArrayList<Element>()
        while (place < pattern.length && !sees("|)")) read += element()
        return Element(read.sumOf { it.least }) { behind -> read.foldRight(behind) { element, next -> element.before(next) } }
    }

    private fun element(): Element = when {
        take("(?:") -> group(anyCase)
        take("(?i:") -> group(ofAnyCase = true)
        take("(?!") -> look(wanted = false)
        take("(?=") -> look(wanted = true)
        else -> repeated(characters())
    }

    private fun closed(): Element = alternatives().also { if (!take(")")) refuse("a group without end") }

    private fun group(ofAnyCase: Boolean): Element {
        val outside = anyCase
        anyCase = ofAnyCase
        val group = closed()
        anyCase = outside
        val element = if (take("?")) anyOf(listOf(group, Element(0) { it })) else group
        if (sees("?*+{")) refuse("a quantifier of a group")
        return element
    }

    private fun look(wanted: Boolean): Element {
        val ahead = closed().before { _, at -> at }
        if (sees("?*+{")) refuse("a quantifier of a look ahead")
        return Element(0) { behind -> Look(ahead, wanted, behind) }
    }

    // --- characters -----------------------------------------------------------------------------------------------------

    private fun characters(): CodePoints {
        if (take("[")) return characterClass()
        if (sees("(){}*+?.^$]")) refuse(pattern.substring(place, place + 1))
        val points = point()
        if (!anyCase) return points
        val letter = (points as? OnePoint)?.point?.takeIf { it < ASCII_END } ?: refuse("other than ASCII in any case")
        return CodePoints { alikeButCase(it, letter) }
    }

    private fun characterClass(): CodePoints {
        if (anyCase) refuse("a class in any case")
        val negated = take("^")
        val items = ArrayList<CodePoints>()
        do items += classItem(isFirst = items.isEmpty()) while (!take("]"))
        return CodePoints { point -> items.any { it.has(point) } != negated }
    }

    private fun classItem(isFirst: Boolean): CodePoints {
        val strayDash = sees("-") && !isFirst && !pattern.startsWith("-]", place)
        if (strayDash || sees("[]") || pattern.startsWith("&&", place)) refuse(pattern.substring(place, place + 1))
        val first = point()
        if (!sees("-") || pattern.startsWith("-]", place)) return first
        place++
        val last = point()
        if (first !is OnePoint || last !is OnePoint || last.point < first.point) refuse("no range")
        return CodePoints { it in first.point..last.point }
    }

    private fun point(): CodePoints {
        val point = next()
        if (point != '\\'.code) return OnePoint(point)
        return when (val escaped = next()) {
            's'.code -> CodePoints(::whiteSpace)
            'S'.code -> CodePoints { !whiteSpace(it) }
            'n'.code -> OnePoint('\n'.code)
            'r'.code -> OnePoint('\r'.code)
            't'.code -> OnePoint('\t'.code)
            'p'.code -> namedCategory()
            'P'.code -> namedCategory().let { named -> CodePoints { !named.has(it) } }
            else -> if (escaped < ASCII_END && !Character.isLetterOrDigit(escaped)) OnePoint(escaped) else refuse("\\${string(escaped)}")
        }
    }

    private fun namedCategory(): CodePoints {
        val end = pattern.indexOf('}', place)
        if (!take("{") || end < 0) refuse("a category without name")
        val name = pattern.substring(place, end)
        place = end + 1
        return category(name) ?: refuse("category $name")
    }

    // --- how often --------------------------------------------------------------------------------------------------------

    private fun repeated(points: CodePoints): Element {
        val (least, most) = when {
            take("?") -> 0 to 1
            take("*") -> 0 to Int.MAX_VALUE
            take("+") -> 1 to Int.MAX_VALUE
            take("{") -> bounds()
            else -> 1 to 1
        }
        if (sees("?*+{")) refuse("a quantifier that is lazy, possessive or doubled")
        val tabled = TabledPoints(points)
        return Element(least) { behind -> Repeated(tabled, least, most, behind) }
    }

    private fun bounds(): Pair<Int, Int> {
        val end = pattern.indexOf('}', place)
        val numbers = (if (end < 0) "" else pattern.substring(place, end)).split(',')
        val least = bound(numbers[0])
        val most = when {
            numbers.size == 1 -> least
            numbers.size == 2 && numbers[1].isEmpty() -> Int.MAX_VALUE
            else -> bound(numbers[1])
        }
        if (numbers.size > 2 || most < least) refuse("{")
        place = end + 1
        return least to most
    }

    private fun bound(digits: String): Int =
        digits.takeIf { it.length in 1..3 && it.all { digit -> digit in '0'..'9' } }?.toInt() ?: refuse("{")
}
