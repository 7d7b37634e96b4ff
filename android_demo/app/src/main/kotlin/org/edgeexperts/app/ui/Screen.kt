package org.edgeexperts.app.ui

import android.view.View
import org.edgeexperts.app.host.AppState

/** One destination: a view, and how it shows a state. */
interface Screen {
    val view: View

    fun show(state: AppState)
}

/** Shows or takes away a view. */
internal fun View.visible(shown: Boolean) {
    visibility = if (shown) View.VISIBLE else View.GONE
}
