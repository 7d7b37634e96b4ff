/**
 * JSON into maps and lists, strictly: what two readers could take differently is refused.
 *
 * Refused are duplicate keys, NaN and infinity, integers beyond 64 bits, lone surrogates, other encodings than UTF-8, a
 * byte order mark, and nesting that no file of ours has.
 */
package org.edgeexperts.wire

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.util.regex.Pattern

/** Bytes of a file that is read; a manifest has about 7 KB. */
public const val JSON_LIMIT: Int = 4 * 1024 * 1024

/** Objects and lists inside each other; a manifest has six. */
public const val DEPTH_LIMIT: Int = 16

/**
 * Returns the tree of [data]: Map<String, Any?>, List<Any?>, String, Long, Double, Boolean, null.
 *
 * @param source what [data] is, for the error.
 * @param limit in bytes.
 * @param fraction the number that the digits of one with a fraction or an exponent stand for: the nearest, unless given.
 * @throws PackageException when it is too large or is not strict JSON.
 */
public fun parseJson(
    data: ByteArray,
    source: String,
    limit: Int = JSON_LIMIT,
    fraction: (String) -> Double = String::toDouble,
): Any? {
    if (data.size > limit) throw PackageException("$source has over $limit bytes")
    try {
        val text = Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString()
        return JsonReader(text, fraction).document()
    } catch (error: CharacterCodingException) {
        throw PackageException("$source is not JSON that this software reads (it is not UTF-8)", error)
    } catch (error: JsonException) {
        throw PackageException("$source is not JSON that this software reads (${error.message})", error)
    }
}

private class JsonException(message: String) : Exception(message)

private val NUMBER = Pattern.compile("-?(?:0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?")

private const val LONGEST_INTEGER = 20 // digits and sign of 64 bits

private class JsonReader(private val text: String, private val numberOf: (String) -> Double) {
    private var place = 0

    fun document(): Any? {
        val tree = value(0)
        blank()
        if (place < text.length) refuse("something follows")
        return tree
    }

    private fun refuse(what: String): Nothing = throw JsonException("$what at character $place")

    private fun blank() {
        while (place < text.length && text[place] in " \t\n\r") place++
    }

    /** Returns whether [char] comes next, and takes it. */
    private fun take(char: Char): Boolean {
        blank()
        val isNext = place < text.length && text[place] == char
        if (isNext) place++
        return isNext
    }

    private fun expect(char: Char) {
        if (!take(char)) refuse("no '$char'")
    }

    private fun value(depth: Int): Any? {
        if (depth > DEPTH_LIMIT) refuse("nesting deeper than $DEPTH_LIMIT")
        return when {
            take('{') -> members(depth + 1)
            take('[') -> items(depth + 1)
            take('"') -> string()
            word("true") -> true
            word("false") -> false
            word("null") -> null
            else -> number()
        }
    }

    private fun word(word: String): Boolean {
        val isNext = text.startsWith(word, place)
        if (isNext) place += word.length
        return isNext
    }

    private fun members(depth: Int): Map<String, Any?> {
        val members = LinkedHashMap<String, Any?>()
        if (take('}')) return members
        do {
            expect('"')
            val name = string()
            if (name in members) refuse("duplicate key ${shown(name)}")
            expect(':')
            members[name] = value(depth)
        } while (take(','))
        expect('}')
        return members
    }

    private fun items(depth: Int): List<Any?> {
        val items = ArrayList<Any?>()
        if (take(']')) return items
        do items.add(value(depth)) while (take(','))
        expect(']')
        return items
    }

    private fun string(): String {
        val characters = StringBuilder()
        while (true) {
            if (place >= text.length) refuse("a text without end")
            val char = text[place++]
            when {
                char == '"' -> break
                char == '\\' -> characters.append(escape())
                char.code < 0x20 -> refuse("a control character in a text")
                else -> characters.append(char)
            }
        }
        return characters.toString().also { if (loneSurrogate(it)) refuse("a lone surrogate") }
    }

    private fun escape(): Char {
        if (place >= text.length) refuse("a text without end")
        return when (val char = text[place++]) {
            '"', '\\', '/' -> char
            'b' -> '\b'
            'f' -> '\u000C'
            'n' -> '\n'
            'r' -> '\r'
            't' -> '\t'
            'u' -> unicode()
            else -> refuse("an unknown escape")
        }
    }

    private fun unicode(): Char {
        val digits = text.substring(place, minOf(place + 4, text.length))
        if (digits.length < 4 || digits.any { it !in "0123456789abcdefABCDEF" }) refuse("a broken escape")
        place += 4
        return digits.toInt(16).toChar()
    }

    private fun number(): Any {
        val match = NUMBER.matcher(text).region(place, text.length)
        if (!match.lookingAt()) refuse("no value")
        place = match.end()
        val whole = match.group(1) == null && match.group(2) == null
        return if (whole) integer(match.group()) else fraction(match.group())
    }

    private fun integer(digits: String): Long =
        (if (digits.length <= LONGEST_INTEGER) digits.toLongOrNull() else null) ?: refuse("an integer beyond 64 bits")

    private fun fraction(digits: String): Double {
        val number = numberOf(digits)
        if (number.isInfinite()) refuse("a number beyond 64 bits")
        return number
    }
}
