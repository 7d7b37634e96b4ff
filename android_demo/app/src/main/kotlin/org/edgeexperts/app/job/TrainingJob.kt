package org.edgeexperts.app.job

import android.app.job.JobParameters
import android.app.job.JobService
import android.os.Build
import android.os.Handler
import android.os.Looper
import org.edgeexperts.app.EdgeApp
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Mode

/** The system ends a job after ten minutes; this one ends itself a little before, in order. */
private const val LONGEST_MS = 9 * 60 * 1000L

/** How long a job without anything to do waits for the app to open its model. */
private const val IDLE_MS = 20 * 1000L

/**
 * Trains while the system lets it, and shows a notification meanwhile. It is no foreground service: Android 14 knows no
 * type of those for training, and a job's conditions are what training needs.
 */
class TrainingJob : JobService() {
    private val main = Handler(Looper.getMainLooper())
    private val host get() = (application as EdgeApp).host
    private val notice by lazy { TrainingNotice(this) }
    private val running = ArrayList<JobParameters>()
    private val listener: (AppState) -> Unit = ::follow

    override fun onStartJob(parameters: JobParameters): Boolean {
        running += parameters
        show(parameters, host.state)
        host.job(begun = true)
        if (running.size == 1) host.listen(listener)
        main.postDelayed({ end(parameters, again = true) }, parameters, LONGEST_MS)
        main.postDelayed({ endIfIdle(parameters) }, parameters, IDLE_MS)
        return true
    }

    override fun onStopJob(parameters: JobParameters): Boolean {
        forget(parameters)
        return true // there may be more to train: the system begins again when its conditions hold
    }

    private fun follow(state: AppState) = running.toList().forEach { show(it, state) }

    private fun show(parameters: JobParameters, state: AppState) {
        val notification = notice.of(state)
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            setNotification(parameters, TrainingNotice.ID, notification, JOB_END_NOTIFICATION_POLICY_REMOVE)
        } else {
            notice.show(notification)
        }
    }

    private fun endIfIdle(parameters: JobParameters) {
        if (host.state.mode == Mode.NONE) end(parameters, again = false)
        else main.postDelayed({ endIfIdle(parameters) }, parameters, IDLE_MS)
    }

    private fun end(parameters: JobParameters, again: Boolean) {
        forget(parameters)
        jobFinished(parameters, again && parameters.jobId == Schedule.NOW)
    }

    private fun forget(parameters: JobParameters) {
        main.removeCallbacksAndMessages(parameters)
        if (!running.remove(parameters)) return
        host.job(begun = false)
        if (running.isEmpty()) {
            host.unlisten(listener)
            notice.cancel()
        }
    }
}
