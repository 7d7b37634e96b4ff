package org.edgeexperts.app.widget

import android.content.Context
import android.util.AttributeSet
import android.widget.TextView
import org.edgeexperts.app.R

/** What something is called and what it is, read aloud as one; a choice can be pressed. */
class FactRow @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    FlowLayout(context, attributes) {
    private val called = TextView(context, null, 0, R.style.Text_Soft)
    private val shown = TextView(context, null, 0, R.style.Text)

    override val gapBetweenRows: Int get() = 0

    /** What the value is of. */
    var name: CharSequence
        get() = called.text
        set(text) {
            called.text = text
            describe()
        }

    /** The value. */
    var value: CharSequence
        get() = shown.text
        set(text) {
            if (text.toString() == shown.text.toString()) return
            shown.text = text
            describe()
        }

    private fun describe() {
        contentDescription = "${called.text}: ${shown.text}"
    }

    init {
        addView(called, LayoutParams(LayoutParams.WRAP_CONTENT, LayoutParams.WRAP_CONTENT))
        addView(shown, LayoutParams(LayoutParams.WRAP_CONTENT, LayoutParams.WRAP_CONTENT))
        minimumHeight = maxOf(minimumHeight, resources.getDimensionPixelSize(R.dimen.fact_height))
        val styled = context.obtainStyledAttributes(attributes, R.styleable.FactRow)
        called.text = styled.getString(R.styleable.FactRow_fact)
        val choice = styled.getBoolean(R.styleable.FactRow_choice, false)
        styled.recycle()
        if (choice) {
            called.setTextAppearance(R.style.Text)
            shown.setTextColor(context.getColor(R.color.accent))
        }
        called.importantForAccessibility = IMPORTANT_FOR_ACCESSIBILITY_NO
        shown.importantForAccessibility = IMPORTANT_FOR_ACCESSIBILITY_NO
        importantForAccessibility = IMPORTANT_FOR_ACCESSIBILITY_YES
        isFocusable = true
    }
}
