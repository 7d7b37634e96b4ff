package org.edgeexperts.app.widget

import android.content.Context
import android.util.AttributeSet
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import org.edgeexperts.app.R
import kotlin.math.roundToInt

/** A label, how probable it is, and a bar of that length; read aloud as one. */
class GuessRow @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    LinearLayout(context, attributes) {
    private val label: TextView
    private val percent: TextView
    private val bar: ProgressBar

    init {
        orientation = VERTICAL
        inflate(context, R.layout.guess, this)
        label = findViewById(R.id.guess_label)
        percent = findViewById(R.id.guess_percent)
        bar = findViewById(R.id.guess_bar)
        val gap = resources.getDimensionPixelSize(R.dimen.gap)
        setPadding(0, gap / 2, 0, gap / 2)
        importantForAccessibility = IMPORTANT_FOR_ACCESSIBILITY_YES
        isFocusable = true
    }

    /** Shows a label with its [probability] in 0..1; [first] makes it larger. */
    fun show(name: String, probability: Double, first: Boolean) {
        val whole = (probability * PERCENT).roundToInt()
        label.setTextAppearance(if (first) R.style.Text_Large else R.style.Text)
        percent.setTextAppearance(if (first) R.style.Text_Large else R.style.Text)
        label.text = name
        percent.text = context.getString(R.string.percent, whole)
        bar.progress = (probability * bar.max).roundToInt()
        contentDescription = context.getString(R.string.classify_guess, name, whole)
    }

    private companion object {
        const val PERCENT = 100
    }
}
