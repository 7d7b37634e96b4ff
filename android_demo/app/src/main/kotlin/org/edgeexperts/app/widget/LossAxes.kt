package org.edgeexperts.app.widget

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.pow

/**
 * Round numbers along an axis.
 *
 * @property values ascending, the same distance apart.
 * @property decimals that tell them apart.
 */
data class Ticks(val values: List<Double>, val decimals: Int)

private val STEPS = listOf(1.0, 2.0, 5.0, 10.0)

/**
 * Returns ticks whose ends enclose [low]..[high], at most [most] + 1 of them.
 *
 * @param whole only whole numbers.
 */
fun ticks(low: Double, high: Double, most: Int, whole: Boolean = false): Ticks {
    val span = max(high - low, if (whole) 1.0 else MIN_SPAN)
    val rough = span / most
    val power = 10.0.pow(floor(log10(rough)))
    val step = STEPS.map { it * power }.first { it * (1 + ROUNDING) >= rough }.let { if (whole) max(1.0, it) else it }
    val first = floor(low / step + ROUNDING)
    val last = max(first + 1, ceil(high / step - ROUNDING))
    val decimals = max(0, -floor(log10(step) + ROUNDING).toInt())
    return Ticks((first.toInt()..last.toInt()).map { it * step }, decimals)
}

private const val MIN_SPAN = 1e-3
private const val ROUNDING = 1e-9
