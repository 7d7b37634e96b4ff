package org.edgeexperts.app.ui

import android.view.View
import android.widget.Button
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.Problem

/** What went wrong, above every screen until it is closed. */
class ProblemView(private val view: View, close: () -> Unit) {
    private val detail = view.findViewById<TextView>(R.id.problem_detail)
    private val more = view.findViewById<Button>(R.id.problem_more)
    private var drawn: Problem? = null

    init {
        view.findViewById<Button>(R.id.problem_close).setOnClickListener { close() }
        more.setOnClickListener {
            detail.visible(true)
            more.visible(false)
        }
    }

    fun show(problem: Problem?) {
        view.visible(problem != null)
        if (problem == null || problem == drawn) {
            drawn = problem
            return
        }
        drawn = problem
        view.findViewById<TextView>(R.id.problem_title).setText(problem.title)
        view.findViewById<TextView>(R.id.problem_advice).setText(problem.advice)
        detail.text = problem.detail
        detail.visible(false)
        more.visible(problem.detail.isNotEmpty())
    }
}
