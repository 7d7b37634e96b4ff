/** What may be wrong with what a window shows. Each function returns sentences; none is good. */
package org.edgeexperts.app

import android.graphics.Bitmap
import android.graphics.Rect
import android.view.View
import android.view.ViewGroup
import android.widget.AdapterView
import android.widget.EditText
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import org.edgeexperts.app.widget.LossChart
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

/** Every view below this one that is shown. */
fun View.all(): List<View> =
    if (visibility != View.VISIBLE) emptyList()
    else listOf(this) + if (this is ViewGroup) (0 until childCount).flatMap { getChildAt(it).all() } else emptyList()

private fun View.words(): String = when (this) {
    is TextView -> "\"$text\""
    else -> contentDescription?.toString() ?: javaClass.simpleName
}

/** Texts that are shortened, cut off, or broken inside a word. */
fun cutTexts(root: View): List<String> = root.all().filterIsInstance<TextView>().filter { it.text.isNotEmpty() }.flatMap { view ->
    val lines = view.layout ?: return@flatMap listOf("${view.words()} was not laid out")
    val room = view.height - view.compoundPaddingTop - view.compoundPaddingBottom
    val broken = (0 until lines.lineCount - 1).any { line ->
        val end = lines.getLineEnd(line)
        view.text[end - 1].isLetterOrDigit() && view.text[end].isLetterOrDigit()
    }
    listOfNotNull(
        "${view.words()} is shortened".takeIf { (0 until lines.lineCount).any { lines.getEllipsisCount(it) > 0 } },
        "${view.words()} needs ${lines.height} px, has $room".takeIf { lines.height > room },
        "${view.words()} is broken inside a word".takeIf { broken && view !is EditText },
    )
}

private fun View.bounds() = Rect().also { getGlobalVisibleRect(it) }

/** Things to see that lie over each other or leave their parents. */
fun overlaps(root: View): List<String> {
    val seen = root.all().filter { it is TextView || it is ImageView || it is ProgressBar || it is LossChart }
    val outside = seen.filter { view ->
        val parent = view.parent as ViewGroup
        view.left < 0 || view.top < 0 || view.right > parent.width || view.bottom > parent.height
    }.map { "${it.words()} leaves its parent" }
    val shown = seen.map { it to it.bounds() }.filter { (_, bounds) -> !bounds.isEmpty }
    val over = shown.flatMapIndexed { place, (view, bounds) ->
        shown.drop(place + 1).filter { (_, other) -> Rect.intersects(bounds, other) }
            .map { (other, _) -> "${view.words()} overlaps ${other.words()}" }
    }
    return outside + over
}

private const val TOUCH_DP = 48

/** What can be pressed but is too small, or has no words for a screen reader. */
fun touchFaults(root: View): List<String> = root.all().filter { it.isClickable && it.isEnabled }.flatMap { view ->
    val density = view.resources.displayMetrics.density
    val small = view.width < TOUCH_DP * density || view.height < TOUCH_DP * density
    val spoken = view.contentDescription ?: (view as? TextView)?.let { it.text.ifEmpty { it.hint } }
    listOfNotNull(
        "${view.words()} is ${view.width / density} x ${view.height / density} dp".takeIf { small },
        "${view.words()} has no words for a screen reader".takeIf { spoken.isNullOrBlank() && view !is AdapterView<*> },
    )
}

private const val LEAST_CONTRAST = 4.5

/** Texts whose colour is too near to what was drawn behind them. */
fun faintTexts(root: View, drawn: Bitmap): List<String> =
    root.all().filterIsInstance<TextView>().filter { it.isEnabled && it.text.isNotEmpty() && !it.bounds().isEmpty }
        .mapNotNull { view ->
            val ratio = contrast(view.currentTextColor, background(view, drawn))
            "${view.words()} has a contrast of $ratio".takeIf { ratio < LEAST_CONTRAST }
        }

/** The colour that most pixels of a text's place have: its background, since letters cover less. */
private fun background(view: TextView, drawn: Bitmap): Int {
    val bounds = view.bounds()
    val counts = HashMap<Int, Int>()
    for (y in bounds.top until min(bounds.bottom, drawn.height) step 2) {
        for (x in bounds.left until min(bounds.right, drawn.width) step 2) counts.merge(drawn.getPixel(x, y), 1, Int::plus)
    }
    return counts.maxByOrNull { it.value }!!.key
}

/** Contrast ratio of two opaque colours, 1 to 21: Web Content Accessibility Guidelines 2.1, 1.4.3. */
fun contrast(one: Int, other: Int): Double {
    val (a, b) = luminance(one) to luminance(other)
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

private fun luminance(color: Int): Double {
    fun part(shift: Int): Double {
        val value = (color shr shift and 0xFF) / 255.0
        return if (value <= 0.03928) value / 12.92 else ((value + 0.055) / 1.055).pow(2.4)
    }
    return 0.2126 * part(16) + 0.7152 * part(8) + 0.0722 * part(0)
}

/** All of them. */
fun faults(root: View): List<String> =
    (cutTexts(root) + overlaps(root) + touchFaults(root) + faintTexts(root, draw(root))).distinct()
