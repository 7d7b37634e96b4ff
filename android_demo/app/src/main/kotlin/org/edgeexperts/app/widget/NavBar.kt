package org.edgeexperts.app.widget

import android.content.Context
import android.util.AttributeSet
import android.view.Gravity
import android.view.View
import android.view.accessibility.AccessibilityNodeInfo
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import org.edgeexperts.app.R

/** The destinations of the app, below the screen or beside it. Names that do not fit make room for the icons alone. */
class NavBar @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    LinearLayout(context, attributes) {
    private var items: List<Item> = emptyList()

    /** Called with the place of a destination that the user chose. */
    var onChosen: (Int) -> Unit = {}

    /** Place of the destination shown. */
    var selected: Int = 0
        set(place) {
            field = place
            items.forEachIndexed { at, item -> item.isSelected = at == place }
        }

    /** Sets the destinations: icon and name of each. */
    fun destinations(destinations: List<Pair<Int, Int>>) {
        removeAllViews()
        items = destinations.mapIndexed { place, (icon, name) ->
            Item(context, icon, context.getString(name)).also { item ->
                item.setOnClickListener { onChosen(place) }
                addView(item, share())
            }
        }
        selected = selected
    }

    private fun share() =
        if (orientation == HORIZONTAL) LayoutParams(0, LayoutParams.MATCH_PARENT, 1f)
        else LayoutParams(LayoutParams.MATCH_PARENT, 0, 1f)

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val width = MeasureSpec.getSize(widthMeasureSpec) - paddingLeft - paddingRight
        val height = MeasureSpec.getSize(heightMeasureSpec) - paddingTop - paddingBottom
        val across = orientation == HORIZONTAL
        val room = if (across) width / items.size.coerceAtLeast(1) else width
        // Beside the screen the bar is as high as the window, which also limits the names.
        val tall = if (across) Int.MAX_VALUE else height / items.size.coerceAtLeast(1)
        val named = items.all { it.fits(room, tall) }
        items.forEach { it.showName(named) }
        super.onMeasure(widthMeasureSpec, heightMeasureSpec)
    }

    private class Item(context: Context, icon: Int, name: String) : LinearLayout(context) {
        private val gap = resources.getDimensionPixelSize(R.dimen.gap)
        private val pill = ImageView(context).apply {
            setImageResource(icon)
            imageTintList = context.getColorStateList(R.color.nav_item)
            setBackgroundResource(R.drawable.nav_pill)
            isDuplicateParentStateEnabled = true
            importantForAccessibility = IMPORTANT_FOR_ACCESSIBILITY_NO
            setPadding(2 * gap, gap / 2, 2 * gap, gap / 2)
        }
        private val label = TextView(context, null, 0, R.style.Nav).apply {
            text = name
            isDuplicateParentStateEnabled = true
            importantForAccessibility = IMPORTANT_FOR_ACCESSIBILITY_NO
        }

        init {
            orientation = VERTICAL
            gravity = Gravity.CENTER
            isFocusable = true
            isClickable = true
            minimumHeight = resources.getDimensionPixelSize(R.dimen.nav_height)
            contentDescription = name
            tooltipText = name
            addView(pill, LayoutParams(8 * gap, 4 * gap))
            addView(label, LayoutParams(LayoutParams.WRAP_CONTENT, LayoutParams.WRAP_CONTENT))
        }

        fun fits(room: Int, tall: Int): Boolean {
            val width = label.paint.measureText(label.text.toString())
            return width <= room - gap / 2 && 4 * gap + label.lineHeight + gap / 2 <= tall
        }

        fun showName(shown: Boolean) {
            label.visibility = if (shown) View.VISIBLE else View.GONE
        }

        override fun onInitializeAccessibilityNodeInfo(info: AccessibilityNodeInfo) {
            super.onInitializeAccessibilityNodeInfo(info)
            info.className = "android.widget.TabWidget"
            info.isSelected = isSelected
        }
    }
}
