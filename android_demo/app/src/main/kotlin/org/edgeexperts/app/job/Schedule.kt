package org.edgeexperts.app.job

import android.content.Context
import org.edgeexperts.app.host.Settings
import org.edgeexperts.background.JobConditions
import org.edgeexperts.background.JobNetwork
import org.edgeexperts.background.TrainingJobs

/** Makes the system's job in the background the one that [settings] ask for. */
fun schedule(context: Context, settings: Settings, federated: Boolean) {
    if (!settings.background) return TrainingJobs.cancel(context)
    TrainingJobs.schedule(context, JobConditions(settings.charging, settings.idle, network(settings, federated)))
}

private fun network(settings: Settings, federated: Boolean) = when {
    !federated -> JobNetwork.NONE
    settings.unmetered -> JobNetwork.UNMETERED
    else -> JobNetwork.ANY
}
