package org.edgeexperts.app.ui

import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.widget.FactRow

private const val DIGEST_SHOWN = 12

/**
 * What runs where, what was tested, whose work is in it.
 *
 * @param licence shows the text of a licence, by the name of its asset.
 */
class AboutScreen(parent: ViewGroup, version: String, licence: (Licence) -> Unit) : Screen {
    override val view: View = LayoutInflater.from(parent.context).inflate(R.layout.screen_about, parent, false)
    private val context = parent.context

    init {
        view.findViewById<TextView>(R.id.app_version).text = context.getString(R.string.about_version, version)
        val list = view.findViewById<LinearLayout>(R.id.licences)
        for (one in LICENCES) {
            val button = Button(context, null, 0, R.style.Button_Plain)
            button.text = context.getString(R.string.licence_of, one.work, one.name)
            button.gravity = android.view.Gravity.START or android.view.Gravity.CENTER_VERTICAL
            button.setOnClickListener { licence(one) }
            list.addView(button, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, LinearLayout.LayoutParams.WRAP_CONTENT))
        }
    }

    override fun show(state: AppState) {
        view.findViewById<TextView>(R.id.runtime).text =
            state.engine?.let { context.getString(R.string.about_runtime_present, it) }
                ?: context.getString(R.string.engine_none)
        view.findViewById<View>(R.id.about_model).visible(state.model != null)
        val manifest = state.model?.manifest ?: return
        fact(R.id.fact_backbone, manifest.architecture.backbone.name)
        fact(R.id.fact_made_for, manifest.device)
        fact(R.id.fact_labels, "${manifest.architecture.labels.size}")
        fact(R.id.fact_package, state.model.digest.take(DIGEST_SHOWN))
    }

    private fun fact(id: Int, value: String) {
        view.findViewById<FactRow>(id).value = value
    }
}
