package org.edgeexperts.app.ui

import android.view.View
import android.view.ViewGroup

/**
 * A list with a row for each item. Rows are made anew only when the items change: a screen reader keeps its place.
 *
 * @param list holds the rows.
 * @param row makes one.
 */
class Rows<T>(private val list: ViewGroup, private val row: (T) -> View) {
    private var drawn: List<T>? = null

    /** Shows [items], and nothing else. */
    fun show(items: List<T>) {
        if (items == drawn) return
        drawn = items
        list.removeAllViews()
        items.forEach { list.addView(row(it)) }
    }
}
