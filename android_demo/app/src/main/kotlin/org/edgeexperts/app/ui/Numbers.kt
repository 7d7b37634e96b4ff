/** Numbers and names as people read them, in the phone's language. */
package org.edgeexperts.app.ui

import android.content.Context
import org.edgeexperts.app.R

private const val KILO = 1000.0

/** Returns a number with so many [decimals]. */
fun number(context: Context, value: Double, decimals: Int = 0): String =
    String.format(context.resources.configuration.locales[0], "%,.${decimals}f", value)

/** Returns bytes in B, kB or MB of 10^3 and 10^6. */
fun bytes(context: Context, count: Long): String = when {
    count < KILO -> "$count B"
    count < KILO * KILO -> "${number(context, count / KILO, 1)} kB"
    else -> "${number(context, count / KILO / KILO, 1)} MB"
}

/** Returns milliseconds, finer when they are few; [none] for 0. */
fun millis(context: Context, value: Double): String =
    if (value <= 0) context.getString(R.string.unknown)
    else context.getString(R.string.unit_ms, number(context, value, if (value < 10) 1 else 0))

/** Returns a label of a package as words. */
fun spoken(label: String): String = label.replace('_', ' ')
