package org.edgeexperts.wire

import java.math.BigDecimal
import java.math.MathContext
import java.math.RoundingMode

/**
 * Returns the one JSON text of [tree] (maps, lists, strings, Int, Long, Double): sorted keys, no spaces, UTF-8.
 *
 * @throws IllegalArgumentException for anything else, NaN and infinity included.
 */
public fun canonicalJson(tree: Any?): ByteArray =
    StringBuilder().also { write(tree, it) }.toString().toByteArray(Charsets.UTF_8)

private fun write(tree: Any?, text: StringBuilder) {
    when (tree) {
        is String -> writeString(tree, text)
        is Int, is Long -> text.append(tree)
        is Double -> text.append(shortestDecimal(tree))
        is List<*> -> {
            text.append('[')
            tree.forEachIndexed { place, item ->
                if (place > 0) text.append(',')
                write(item, text)
            }
            text.append(']')
        }
        is Map<*, *> -> {
            text.append('{')
            // All our keys are ASCII, where the order of UTF-16 is that of code points.
            tree.entries.sortedBy { it.key as String }.forEachIndexed { place, (key, item) ->
                if (place > 0) text.append(',')
                writeString(key as String, text)
                text.append(':')
                write(item, text)
            }
            text.append('}')
        }
        else -> throw IllegalArgumentException("canonical JSON has no ${tree?.javaClass}")
    }
}

private fun writeString(value: String, text: StringBuilder) {
    text.append('"')
    for (char in value) {
        require(char.code >= 0x20) { "canonical JSON holds plain text only" }
        if (char == '"' || char == '\\') text.append('\\')
        text.append(char)
    }
    text.append('"')
}

/**
 * Returns the shortest decimal that reads back as [value], with a digit after the point and no exponent.
 *
 * Double.toString is not it: before JDK 19, and on Android, it may write a digit too many.
 */
public fun shortestDecimal(value: Double): String {
    require(!value.isNaN() && !value.isInfinite()) { "$value has no decimal" }
    val exact = BigDecimal(value)
    val rounded = (1..17).asSequence()
        .map { digits -> exact.round(MathContext(digits, RoundingMode.HALF_EVEN)) }
        .first { it.toDouble() == value }
    val text = rounded.stripTrailingZeros().toPlainString()
    return if ('.' in text) text else "$text.0"
}
