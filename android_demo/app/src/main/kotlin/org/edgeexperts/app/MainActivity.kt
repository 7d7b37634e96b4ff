package org.edgeexperts.app

import android.app.Activity
import android.os.Bundle
import android.widget.TextView

/** The app's one window. */
class MainActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(TextView(this).apply { setText(R.string.about_phone) })
    }
}
