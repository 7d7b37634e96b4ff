package org.edgeexperts.app.host

import android.os.Handler

/** Holds the present state; changes come from any thread, listeners hear of them on the main one. */
class States(first: AppState, private val main: Handler) {
    private val listeners = ArrayList<(AppState) -> Unit>() // main thread only
    private var pending = false

    /** The present state. */
    @Volatile
    var now: AppState = first
        private set

    /** Replaces the state. Several changes in a row are told once. */
    @Synchronized
    fun change(changed: AppState.() -> AppState) {
        if (!pending) pending = main.post(::tell) // it waits for the end of this: who sees the state is told of it, too
        now = now.changed()
    }

    /** Tells [listener] the present state, and every later one. */
    fun listen(listener: (AppState) -> Unit) {
        listeners += listener
        listener(now)
    }

    /** Tells it no more. */
    fun unlisten(listener: (AppState) -> Unit) {
        listeners -= listener
    }

    private fun tell() {
        synchronized(this) { pending = false }
        listeners.toList().forEach { it(now) }
    }
}
