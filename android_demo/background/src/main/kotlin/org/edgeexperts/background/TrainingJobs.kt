package org.edgeexperts.background

import android.app.job.JobInfo
import android.app.job.JobScheduler
import android.content.ComponentName
import android.content.Context

private const val EVERY_MS = 15 * 60 * 1000L

/** The network that a job waits for. */
public enum class JobNetwork(internal val type: Int) {
    /** None: training alone sends nothing. */
    NONE(JobInfo.NETWORK_TYPE_NONE),

    /** Whatever there is. */
    ANY(JobInfo.NETWORK_TYPE_ANY),

    /** One that costs nothing by the byte. */
    UNMETERED(JobInfo.NETWORK_TYPE_UNMETERED),
}

/** What a job in the background waits for, besides a battery and a storage that are not low. */
public data class JobConditions(
    public val charging: Boolean = true,
    public val idle: Boolean = true,
    public val network: JobNetwork = JobNetwork.UNMETERED,
)

/** What is asked of the system's job scheduler. */
public object TrainingJobs {
    /** The job that comes back every 15 minutes while its conditions hold. */
    public const val BACKGROUND: Int = 1

    /** The job of a press on Start: it keeps the process when the app is left. */
    public const val NOW: Int = 2

    /** Asks for the job that comes back, also after a reboot; one that has these conditions already is left alone. */
    public fun schedule(context: Context, conditions: JobConditions) {
        val wanted = background(context, conditions)
        if (scheduler(context).getPendingJob(BACKGROUND) != wanted) scheduler(context).schedule(wanted)
    }

    /** Takes [schedule] back. */
    public fun cancel(context: Context): Unit = scheduler(context).cancel(BACKGROUND)

    private fun background(context: Context, conditions: JobConditions): JobInfo =
        JobInfo.Builder(BACKGROUND, component(context))
            .setPeriodic(EVERY_MS)
            .setPersisted(true) // it is there again after a reboot
            .setRequiresCharging(conditions.charging)
            .setRequiresBatteryNotLow(true)
            .setRequiresDeviceIdle(conditions.idle)
            .setRequiresStorageNotLow(true)
            .setRequiredNetworkType(conditions.network.type)
            .build()

    /** Asks for a job at once. */
    public fun now(context: Context) {
        scheduler(context).schedule(JobInfo.Builder(NOW, component(context)).setOverrideDeadline(0).build())
    }

    /** Takes [now] back. */
    public fun notNow(context: Context): Unit = scheduler(context).cancel(NOW)

    private fun component(context: Context) = ComponentName(context, TrainingJob::class.java)

    private fun scheduler(context: Context) = context.getSystemService(JobScheduler::class.java)
}
