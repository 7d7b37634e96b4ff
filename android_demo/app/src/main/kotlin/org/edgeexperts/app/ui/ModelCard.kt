package org.edgeexperts.app.ui

import android.view.View
import android.widget.Button
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.ModelPhase

/** What a user chooses with the system's document picker. */
interface Pickers {
    fun pickZip()

    fun pickFolder()

    fun pickEnrolment()
}

/** Says that a model is needed, asks for it, and tells how far it is; also that there is nothing to run it. */
class ModelCard(root: View, pick: Pickers) {
    private val card = root.findViewById<View>(R.id.model_card)
    private val title = root.findViewById<TextView>(R.id.model_title)
    private val text = root.findViewById<TextView>(R.id.model_text)
    private val progress = root.findViewById<View>(R.id.model_progress)
    private val choose = root.findViewById<View>(R.id.model_choose)

    init {
        root.findViewById<Button>(R.id.model_zip).setOnClickListener { pick.pickZip() }
        root.findViewById<Button>(R.id.model_folder).setOnClickListener { pick.pickFolder() }
    }

    fun show(state: AppState) {
        val noEngine = state.engine == null
        val busy = state.phase == ModelPhase.COPYING || state.phase == ModelPhase.OPENING
        card.visible(noEngine || state.phase != ModelPhase.READY)
        title.setText(if (noEngine) R.string.training_no_engine else R.string.model_none)
        title.visible(!busy)
        text.setText(
            when {
                state.phase == ModelPhase.COPYING -> R.string.model_copying
                state.phase == ModelPhase.OPENING -> R.string.model_opening
                noEngine -> R.string.engine_none
                else -> R.string.model_explained
            },
        )
        progress.visible(busy)
        choose.visible(!busy && !noEngine)
    }
}
