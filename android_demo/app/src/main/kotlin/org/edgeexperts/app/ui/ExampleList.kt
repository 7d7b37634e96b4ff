package org.edgeexperts.app.ui

import android.view.LayoutInflater
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Host
import org.edgeexperts.core.Example

private const val PAGE = 10

/** Characters of a text that the list shows. */
private const val SHOWN = 140

/** The private examples, newest first, each deletable; as many as were asked for. */
class ExampleList(root: View, private val host: Host) {
    private val context = root.context
    private val count = root.findViewById<TextView>(R.id.examples_count)
    private val list = root.findViewById<LinearLayout>(R.id.examples)
    private val more = root.findViewById<Button>(R.id.examples_more)
    private val deleted = root.findViewById<View>(R.id.deleted)
    private var shown = PAGE
    private val rows = Rows(list, ::row)

    init {
        more.setOnClickListener {
            shown += PAGE
            show(host.state)
        }
        root.findViewById<Button>(R.id.deleted_undo).setOnClickListener { host.undelete() }
    }

    fun show(state: AppState) {
        val all = state.examples
        count.text = if (all.isEmpty()) context.getString(R.string.examples_none)
        else context.resources.getQuantityString(R.plurals.examples_count, all.size, all.size)
        deleted.visible(state.deleted != null)
        more.visible(all.size > shown)
        rows.show(all.take(shown))
    }

    private fun row(example: Example): View {
        val row = LayoutInflater.from(context).inflate(R.layout.row_example, list, false)
        val (text, label) = short(example.text) to spoken(example.label)
        row.findViewById<TextView>(R.id.example_text).text = text
        row.findViewById<TextView>(R.id.example_label).text = label
        row.findViewById<View>(R.id.example_words).contentDescription = "$text, $label"
        row.findViewById<View>(R.id.example_delete).apply {
            contentDescription = context.getString(R.string.examples_delete, text)
            setOnClickListener { host.delete(example) }
        }
        return row
    }

    private fun short(text: String) = if (text.length <= SHOWN) text else text.take(SHOWN).trimEnd() + " …"
}
