package org.edgeexperts.background

import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent

/** The notification's button: stops training until the user starts it again. */
public class StopReceiver : BroadcastReceiver() {
    override fun onReceive(context: Context, intent: Intent) {
        (context.applicationContext as TrainingApp).training.stop()
        TrainingJobs.notNow(context)
    }
}
