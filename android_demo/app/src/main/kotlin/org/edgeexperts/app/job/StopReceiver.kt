package org.edgeexperts.app.job

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import org.edgeexperts.app.EdgeApp

/** The notification's button: stops training until the user starts it again. */
class StopReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        (context.applicationContext as EdgeApp).host.stop()
        Schedule.notNow(context)
    }
}
