package org.edgeexperts.app.widget

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup
import org.edgeexperts.app.R
import kotlin.math.max

/**
 * Puts its children side by side while they fit, and begins a new row when not: with a large font, what stood beside
 * stands below.
 */
open class FlowLayout @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    ViewGroup(context, attributes) {
    private val gap = resources.getDimensionPixelSize(R.dimen.gap)

    /** Whether the last child of a row of several stands at its end. */
    private val spread: Boolean

    private class Row(val children: List<View>, val height: Int)

    private var rows: List<Row> = emptyList()

    init {
        val styled = context.obtainStyledAttributes(attributes, R.styleable.FlowLayout)
        spread = styled.getBoolean(R.styleable.FlowLayout_spread, this is FactRow)
        styled.recycle()
    }

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val room = MeasureSpec.getSize(widthMeasureSpec) - paddingLeft - paddingRight
        val visible = (0 until childCount).map(::getChildAt).filter { it.visibility != GONE }
        visible.forEach { child ->
            child.measure(
                MeasureSpec.makeMeasureSpec(room, MeasureSpec.AT_MOST),
                getChildMeasureSpec(heightMeasureSpec, 0, child.layoutParams.height),
            )
        }
        rows = rowsOf(visible, room)
        val height = rows.sumOf { it.height } + gapBetweenRows * max(0, rows.size - 1) + paddingTop + paddingBottom
        setMeasuredDimension(
            resolveSize(room + paddingLeft + paddingRight, widthMeasureSpec),
            resolveSize(max(height, minimumHeight), heightMeasureSpec),
        )
    }

    /** Pixels between two rows. */
    protected open val gapBetweenRows: Int get() = gap

    private fun rowsOf(visible: List<View>, room: Int): List<Row> {
        val rows = ArrayList<Row>()
        var row = ArrayList<View>()
        var used = 0
        fun close() {
            if (row.isNotEmpty()) rows += Row(row, row.maxOf { it.measuredHeight })
            row = ArrayList()
            used = 0
        }
        for (child in visible) {
            if (row.isNotEmpty() && used + gap + child.measuredWidth > room) close()
            used += child.measuredWidth + if (row.isEmpty()) 0 else gap
            row.add(child)
        }
        close()
        return rows
    }

    override fun onLayout(changed: Boolean, left: Int, top: Int, right: Int, bottom: Int) {
        val content = rows.sumOf { it.height } + gapBetweenRows * max(0, rows.size - 1)
        var y = paddingTop + max(0, (height - paddingTop - paddingBottom - content) / 2)
        for (row in rows) {
            var x = paddingLeft
            row.children.forEachIndexed { place, child ->
                val last = row.children.size > 1 && place == row.children.lastIndex
                val start = if (spread && last) width - paddingRight - child.measuredWidth else x
                put(child, start, y + (row.height - child.measuredHeight) / 2)
                x += child.measuredWidth + gap
            }
            y += row.height + gapBetweenRows
        }
    }

    /** Places a child; [start] counts from the side where reading starts. */
    private fun put(child: View, start: Int, top: Int) {
        val left = if (layoutDirection == LAYOUT_DIRECTION_RTL) width - start - child.measuredWidth else start
        child.layout(left, top, left + child.measuredWidth, top + child.measuredHeight)
    }
}
