package org.edgeexperts.app.job

import android.app.job.JobInfo
import android.app.job.JobScheduler
import android.content.ComponentName
import android.content.Context
import org.edgeexperts.app.host.Settings

private const val EVERY_MS = 15 * 60 * 1000L

/** What is asked of the system's job scheduler. */
object Schedule {
    /** The job that comes back while training in the background is on. */
    const val BACKGROUND = 1

    /** The job of a press on Start: it keeps the process when the app is left. */
    const val NOW = 2

    /** Makes the scheduler's jobs those that [settings] ask for. */
    fun apply(context: Context, settings: Settings, federated: Boolean) {
        val scheduler = context.getSystemService(JobScheduler::class.java)
        if (!settings.background) return scheduler.cancel(BACKGROUND)
        val wanted = background(context, settings, federated)
        if (scheduler.getPendingJob(BACKGROUND) != wanted) scheduler.schedule(wanted)
    }

    private fun background(context: Context, settings: Settings, federated: Boolean): JobInfo =
        JobInfo.Builder(BACKGROUND, ComponentName(context, TrainingJob::class.java))
            .setPeriodic(EVERY_MS)
            .setPersisted(true) // it is there again after a reboot
            .setRequiresCharging(settings.charging)
            .setRequiresBatteryNotLow(true)
            .setRequiresDeviceIdle(settings.idle)
            .setRequiresStorageNotLow(true)
            .setRequiredNetworkType(network(settings, federated))
            .build()

    private fun network(settings: Settings, federated: Boolean) = when {
        !federated -> JobInfo.NETWORK_TYPE_NONE
        settings.unmetered -> JobInfo.NETWORK_TYPE_UNMETERED
        else -> JobInfo.NETWORK_TYPE_ANY
    }

    /** Asks for a job at once. */
    fun now(context: Context) {
        val job = JobInfo.Builder(NOW, ComponentName(context, TrainingJob::class.java)).setOverrideDeadline(0).build()
        context.getSystemService(JobScheduler::class.java).schedule(job)
    }

    /** Takes [now] back. */
    fun notNow(context: Context) = context.getSystemService(JobScheduler::class.java).cancel(NOW)
}
