package org.edgeexperts.app.widget

import android.content.Context
import android.util.AttributeSet
import android.widget.ScrollView

/** As high as what it holds, but never more than half of the room: what is below stays in sight. */
class ProblemCard @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    ScrollView(context, attributes) {
    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val most = MeasureSpec.getSize(heightMeasureSpec) / 2
        super.onMeasure(widthMeasureSpec, MeasureSpec.makeMeasureSpec(most, MeasureSpec.AT_MOST))
    }
}
