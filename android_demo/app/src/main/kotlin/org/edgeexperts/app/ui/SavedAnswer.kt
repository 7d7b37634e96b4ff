/** An answer in a saved state, so that it is there again after the system ended the process. */
package org.edgeexperts.app.ui

import android.os.Bundle
import org.edgeexperts.app.host.Answer
import org.edgeexperts.core.Example
import org.edgeexperts.core.Prediction

private const val TEXT = "answer_text"

/** Writes an answer. */
fun Bundle.putAnswer(answer: Answer) {
    val prediction = answer.prediction
    putString(TEXT, answer.text)
    putLong("answer_millis", answer.millis)
    putStringArrayList("answer_labels", ArrayList(prediction.scores.keys))
    putDoubleArray("answer_scores", prediction.scores.values.toDoubleArray())
    putLong("answer_version", prediction.version)
    putBoolean("answer_personal", prediction.personal)
    putBoolean("answer_learned", prediction.learned)
    answer.kept?.let {
        putLong("answer_kept", it.id)
        putString("answer_kept_label", it.label)
    }
}

/** Reads it; null when there is none. */
fun Bundle.getAnswer(): Answer? {
    val text = getString(TEXT) ?: return null
    val labels = getStringArrayList("answer_labels").orEmpty()
    val scores = labels.zip(getDoubleArray("answer_scores")!!.toList()).toMap()
    val prediction = Prediction(
        labels.first(), scores.values.first(), scores, getLong("answer_version"), getBoolean("answer_personal"),
        getBoolean("answer_learned", true),
    )
    val kept = getString("answer_kept_label")?.let { Example(getLong("answer_kept"), text, it) }
    return Answer(text, prediction, getLong("answer_millis"), kept)
}
