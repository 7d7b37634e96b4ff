package org.edgeexperts.app.ui

import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.view.inputmethod.InputMethodManager
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.Answer
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Host
import org.edgeexperts.app.host.ModelPhase
import org.edgeexperts.app.widget.GuessRow

private const val OTHERS = 3

/** Below this probability the answer is called unsure. */
private const val SURE = 0.5

/**
 * A text, what it is taken for, and the examples that come of it.
 *
 * @param choose asks for the right label of an answer and hands it on.
 */
class ClassifyScreen(
    parent: ViewGroup,
    private val host: Host,
    private val pick: Pickers,
    private val choose: (Answer, (String) -> Unit) -> Unit,
) : Screen {
    override val view: View = LayoutInflater.from(parent.context).inflate(R.layout.screen_classify, parent, false)
    private val context = parent.context
    private val text = view.findViewById<EditText>(R.id.text)
    private val action = view.findViewById<Button>(R.id.classify_action)
    private val others = view.findViewById<LinearLayout>(R.id.answer_others)
    private val examples = ExampleList(view, host)
    private val model = ModelCard(view, pick)

    init {
        action.setOnClickListener { read() }
        view.findViewById<Button>(R.id.confirm).setOnClickListener {
            host.state.answer?.let { host.keep(it.prediction.label) }
        }
        view.findViewById<Button>(R.id.correct).setOnClickListener {
            host.state.answer?.let { choose(it, host::keep) }
        }
        view.findViewById<Button>(R.id.kept_undo).setOnClickListener { host.unkeep() }
        repeat(OTHERS) { others.addView(GuessRow(context)) }
    }

    /** Takes a text from another app and reads it. */
    fun take(shared: String) {
        text.setText(shared)
        read()
    }

    private fun read() {
        val written = text.text.toString()
        if (written.isBlank()) {
            text.requestFocus()
            return
        }
        context.getSystemService(InputMethodManager::class.java).hideSoftInputFromWindow(text.windowToken, 0)
        host.read(written)
    }

    override fun show(state: AppState) {
        val ready = state.phase == ModelPhase.READY && state.engine != null
        model.show(state)
        view.findViewById<View>(R.id.ask).visible(ready)
        action.isEnabled = !state.reading
        action.setText(if (state.reading) R.string.classify_working else R.string.classify_action)
        showAnswer(state.answer.takeIf { ready })
        view.findViewById<View>(R.id.examples_card).visible(state.model != null && state.engine != null)
        examples.show(state)
    }

    private fun showAnswer(answer: Answer?) {
        view.findViewById<View>(R.id.answer).visible(answer != null)
        val prediction = answer?.prediction ?: return
        val caption = when {
            !prediction.learned -> R.string.classify_unlearned
            prediction.confidence < SURE -> R.string.classify_unsure
            else -> R.string.classify_result
        }
        view.findViewById<TextView>(R.id.answer_caption).setText(caption)
        view.findViewById<GuessRow>(R.id.answer_best).show(spoken(prediction.label), prediction.confidence, first = true)
        val rest = prediction.scores.entries.drop(1).take(OTHERS)
        for (place in 0 until OTHERS) {
            val row = others.getChildAt(place) as GuessRow
            row.visible(place < rest.size)
            rest.getOrNull(place)?.let { (label, probability) -> row.show(spoken(label), probability, first = false) }
        }
        val personal = if (prediction.personal) R.string.classify_made_by_own else R.string.classify_made_by
        view.findViewById<TextView>(R.id.answer_made_by).text =
            context.getString(personal, prediction.version, number(context, answer.millis.toDouble()))
        showKept(answer)
    }

    private fun showKept(answer: Answer) {
        val kept = answer.kept
        view.findViewById<View>(R.id.answer_judge).visible(kept == null)
        view.findViewById<View>(R.id.kept).visible(kept != null)
        if (kept != null) {
            view.findViewById<TextView>(R.id.kept_text).text =
                context.getString(R.string.classify_kept, spoken(kept.label))
        }
    }
}
