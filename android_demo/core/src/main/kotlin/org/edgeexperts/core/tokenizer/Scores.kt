package org.edgeexperts.core.tokenizer

import kotlin.math.abs

private const val LARGEST = ULong.MAX_VALUE
private val POWERS = DoubleArray(309) { "1e$it".toDouble() } // all powers of ten that a double has

/**
 * Returns what the tokenizers library reads for the digits of a number with a fraction or an exponent: its JSON reader
 * rounds twice, once the digits as a whole and once their quotient by a power of ten, so the last bit may be another than
 * the nearest number's. Sums of such scores decide between cuttings that are as good, so Unigram needs the same bits.
 */
internal fun score(digits: String): Double {
    val end = digits.indexOfAny(charArrayOf('e', 'E')).let { if (it < 0) digits.length else it }
    var exponent = if (end < digits.length) digits.substring(end + 1).toIntOrNull() ?: return digits.toDouble() else 0
    val point = digits.indexOf('.')
    var whole = 0uL
    for (place in (if (digits[0] == '-') 1 else 0) until end) {
        if (place == point) continue
        val value = (digits[place] - '0').toULong()
        val isFraction = point in 0 until place
        if (whole > LARGEST / 10u || whole == LARGEST / 10u && value > LARGEST % 10u) {
            if (isFraction) break else return digits.toDouble() // further digits of a fraction are passed over
        }
        whole = whole * 10u + value
        if (isFraction) exponent--
    }
    if (abs(exponent) >= POWERS.size) return digits.toDouble()
    val size = if (exponent < 0) whole.toDouble() / POWERS[-exponent] else whole.toDouble() * POWERS[exponent]
    return if (digits[0] == '-') -size else size
}
