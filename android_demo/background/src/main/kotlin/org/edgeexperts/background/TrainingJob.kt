package org.edgeexperts.background

import android.app.job.JobParameters
import android.app.job.JobService
import android.os.Build
import android.os.Handler
import android.os.Looper
import java.io.Closeable

/** The system ends a job after ten minutes; this one ends itself a little before, in order. */
private const val LONGEST_MS = 9 * 60 * 1000L

/** How long a job without anything to do waits for the app to open its model. */
private const val IDLE_MS = 20 * 1000L

/**
 * Trains while the system lets it, and shows a notification meanwhile. It is no foreground service: Android 14 knows no
 * type of those for training, and a job's conditions are what training needs. The app's Application is a [TrainingApp].
 */
public class TrainingJob : JobService() {
    private val main = Handler(Looper.getMainLooper())
    private val host get() = (application as TrainingApp).training
    private val notice by lazy { TrainingNotice(this, host.style) }
    private val running = ArrayList<JobParameters>()
    private var hearing: Closeable? = null

    override fun onStartJob(parameters: JobParameters): Boolean {
        running += parameters
        show(parameters)
        host.job(begun = true)
        if (running.size == 1) hearing = host.listen { running.toList().forEach(::show) }
        main.postDelayed({ end(parameters, again = true) }, parameters, LONGEST_MS)
        main.postDelayed({ endIfIdle(parameters) }, parameters, IDLE_MS)
        return true
    }

    override fun onStopJob(parameters: JobParameters): Boolean {
        forget(parameters)
        return true // there may be more to train: the system begins again when its conditions hold
    }

    private fun show(parameters: JobParameters) {
        val notification = notice.of(host.notice)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            setNotification(parameters, TrainingNotice.ID, notification, JOB_END_NOTIFICATION_POLICY_REMOVE)
        } else {
            notice.show(notification)
        }
    }

    private fun endIfIdle(parameters: JobParameters) {
        if (!host.atWork) end(parameters, again = false)
        else main.postDelayed({ endIfIdle(parameters) }, parameters, IDLE_MS)
    }

    private fun end(parameters: JobParameters, again: Boolean) {
        forget(parameters)
        jobFinished(parameters, again && parameters.jobId == TrainingJobs.NOW)
    }

    private fun forget(parameters: JobParameters) {
        main.removeCallbacksAndMessages(parameters)
        if (!running.remove(parameters)) return
        host.job(begun = false)
        if (running.isEmpty()) {
            hearing?.close()
            notice.cancel()
        }
    }
}
