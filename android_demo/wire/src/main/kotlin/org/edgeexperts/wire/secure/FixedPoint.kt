package org.edgeexperts.wire.secure

import kotlin.math.floor
import org.edgeexperts.wire.SecureException

/**
 * Integers of a block's values, and what is left of the values.
 *
 * @property integers between -limit and limit.
 * @property left float32; goes into the block's next delta.
 */
public class Integers(public val integers: IntArray, public val left: FloatArray)

/**
 * How a device's values become integers that mean the same for all: y = v w / (W s), rounded half to even and cut.
 *
 * @property step s, above 0.
 * @property limit R, of an integer's size.
 * @property weight w of the device, 1 or more.
 * @property mostWeight W, of any device.
 * @throws SecureException for others.
 */
public class Scale(
    public val step: Double,
    public val limit: Int,
    public val weight: Int = 1,
    public val mostWeight: Int = 1,
) {
    init {
        val fits = step > 0 && step < Double.POSITIVE_INFINITY && limit >= 1 && weight in 1..mostWeight
        if (!fits) {
            throw SecureException(
                "a step above 0, a limit from 1 on and a weight from 1 to the largest are expected, " +
                    "got $step, $limit, $weight of $mostWeight",
            )
        }
    }

    private val factor = weight / (mostWeight * step)

    /**
     * Returns [values] as integers.
     *
     * @throws SecureException for NaN or infinity.
     */
    public fun integers(values: FloatArray): Integers {
        val wrong = values.count { it.isNaN() || it.isInfinite() }
        if (wrong > 0) throw SecureException("$wrong of ${values.size} values are NaN or infinite")
        val most = limit.toDouble()
        val integers = IntArray(values.size) { Math.rint(values[it] * factor).coerceIn(-most, most).toInt() }
        return Integers(integers, FloatArray(values.size) { (values[it] - integers[it] / factor).toFloat() })
    }
}

/** Returns the weight of a device: [examples] in units of [unit], at least 1 and at most [most]. */
public fun weightOf(examples: Double, unit: Double, most: Int): Int =
    floor(examples / unit + 0.5).coerceIn(1.0, most.toDouble()).toInt()
