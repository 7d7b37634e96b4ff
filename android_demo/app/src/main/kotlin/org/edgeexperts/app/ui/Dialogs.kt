package org.edgeexperts.app.ui

import android.app.Activity
import android.app.AlertDialog
import android.app.Dialog
import android.text.Editable
import android.text.TextWatcher
import android.view.LayoutInflater
import android.view.View
import android.widget.ArrayAdapter
import android.widget.EditText
import android.widget.ListView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.Answer

/** From so many labels on there is a field to search them. */
private const val MANY = 8

/** Questions before the screen; at most one at a time. */
class Dialogs(private val activity: Activity) {
    private var open: Dialog? = null

    /** Asks for the right label of an answer, likeliest first. */
    fun chooseLabel(answer: Answer, chosen: (String) -> Unit) {
        val labels = answer.prediction.scores.keys.toList()
        val view = LayoutInflater.from(activity).inflate(R.layout.dialog_labels, null)
        val list = view.findViewById<ListView>(R.id.labels)
        val adapter = ArrayAdapter(activity, R.layout.row_label, labels.map(::Spoken))
        list.adapter = adapter
        val filter = view.findViewById<EditText>(R.id.filter)
        view.findViewById<View>(R.id.filter_box).visible(labels.size >= MANY)
        filter.addTextChangedListener(onText { adapter.filter.filter(it) })
        val dialog = builder(R.string.classify_choose).setView(view).setNegativeButton(R.string.cancel, null).create()
        list.setOnItemClickListener { _, _, place, _ ->
            chosen(adapter.getItem(place)!!.label)
            dialog.dismiss()
        }
        show(dialog)
    }

    /** A label that the list shows, and finds, as words. */
    private class Spoken(val label: String) {
        override fun toString(): String = spoken(label)
    }

    /** Asks for one of a few options. */
    fun chooseOne(title: Int, options: List<String>, selected: Int, chosen: (Int) -> Unit) {
        show(
            builder(title).setSingleChoiceItems(options.toTypedArray(), selected) { dialog, place ->
                chosen(place)
                dialog.dismiss()
            }.setNegativeButton(R.string.cancel, null).create(),
        )
    }

    /** Asks before something that cannot be taken back. */
    fun confirm(title: Int, text: CharSequence, action: Int, confirmed: () -> Unit) {
        show(
            builder(title).setMessage(text).setNegativeButton(R.string.cancel, null)
                .setPositiveButton(action) { _, _ -> confirmed() }.create(),
        )
    }

    /** Shows a licence's text. */
    fun showLicence(licence: Licence) {
        val text = activity.assets.open(licence.file).use { it.readBytes().toString(Charsets.UTF_8) }
        show(
            AlertDialog.Builder(activity).setTitle(licence.work).setMessage(text)
                .setPositiveButton(R.string.problem_close, null).create(),
        )
    }

    /** Closes what is open: a window that goes leaves no dialog behind. */
    fun close() {
        open?.dismiss()
        open = null
    }

    private fun builder(title: Int) = AlertDialog.Builder(activity).setTitle(title)

    private fun show(dialog: Dialog) {
        close()
        open = dialog
        dialog.show()
    }
}

private fun onText(changed: (CharSequence) -> Unit) = object : TextWatcher {
    override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit

    override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit

    override fun afterTextChanged(text: Editable) = changed(text)
}
