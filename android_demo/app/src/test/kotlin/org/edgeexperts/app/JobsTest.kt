package org.edgeexperts.app

import android.app.Notification
import android.app.NotificationManager
import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.content.Intent
import android.os.Looper
import android.widget.Switch
import org.edgeexperts.app.host.Settings
import org.edgeexperts.app.job.noticeOf
import org.edgeexperts.app.job.schedule
import org.edgeexperts.background.TrainingApp
import org.edgeexperts.background.TrainingJob
import org.edgeexperts.background.TrainingJobs
import org.edgeexperts.background.TrainingNotice
import org.edgeexperts.core.Conditions
import org.edgeexperts.core.Heat
import org.edgeexperts.core.Hindrance
import org.edgeexperts.core.hindrances
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadow.api.Shadow
import java.time.Duration
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** What the app asks of the system's scheduler, and what it shows while a job runs. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApp::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Suppress("DEPRECATION") // the network type as it is kept; the request that replaces it is made from it
class JobsTest {
    private val app get() = RuntimeEnvironment.getApplication()
    private val scheduler get() = app.getSystemService(JobScheduler::class.java)

    /** The switch makes a job that outlives a reboot and has the conditions of the settings; off, it is gone. */
    @Test fun theSwitchSchedulesTheJob() = Phone().open().use { opened ->
        val activity = opened.get()
        activity.go(1)
        val switch = activity.findViewById<Switch>(R.id.background)
        switch.performClick()
        val job = assertNotNull(scheduler.getPendingJob(TrainingJobs.BACKGROUND))
        assertTrue(job.isPersisted && job.isPeriodic)
        assertTrue(job.isRequireCharging && job.isRequireDeviceIdle && job.isRequireBatteryNotLow)
        assertEquals(JobInfo.NETWORK_TYPE_NONE, job.networkType) // alone, nothing is sent
        activity.set(host.state.settings.copy(idle = false, charging = false))
        val eased = scheduler.getPendingJob(TrainingJobs.BACKGROUND)!!
        assertFalse(eased.isRequireCharging || eased.isRequireDeviceIdle)
        switch.performClick()
        assertNull(scheduler.getPendingJob(TrainingJobs.BACKGROUND))
    }

    /** In a federation the network of the settings is waited for, too. */
    @Test fun aFederationNeedsTheNetwork() {
        val on = Settings(background = true)
        schedule(app, on, federated = true)
        assertEquals(JobInfo.NETWORK_TYPE_UNMETERED, scheduler.getPendingJob(TrainingJobs.BACKGROUND)!!.networkType)
        schedule(app, on.copy(unmetered = false), federated = true)
        assertEquals(JobInfo.NETWORK_TYPE_ANY, scheduler.getPendingJob(TrainingJobs.BACKGROUND)!!.networkType)
    }

    /** The notification says how far training is, names no text, and can stop it. */
    @Test fun theNotificationTellsTheStep() {
        val notification = TrainingNotice(app, (app as TrainingApp).training.style).of(noticeOf(app, training))
        assertEquals("Step 60 of 80", notification.extras.getString(Notification.EXTRA_TEXT))
        assertEquals(listOf(80, 60), listOf(Notification.EXTRA_PROGRESS_MAX, Notification.EXTRA_PROGRESS).map(notification.extras::getInt))
        assertEquals(listOf("Stop"), notification.actions.map { "${it.title}" })
        notification.actions[0].actionIntent.send()
        idle()
        until("the stop") { it.stopped }
    }

    /** A job that finds nothing to do ends by itself and takes its notification away. */
    @Test fun aJobWithoutWorkEnds() {
        val job = Robolectric.buildService(TrainingJob::class.java).create().get().apply { onBind(Intent()) }
        val parameters = Shadow.newInstanceOf(JobParameters::class.java)
        assertTrue(job.onStartJob(parameters))
        idle()
        shadowOf(Looper.getMainLooper()).idleFor(Duration.ofSeconds(21))
        assertTrue(shadowOf(job).isJobFinished && !shadowOf(job).isRescheduleNeeded)
        val manager = app.getSystemService(NotificationManager::class.java)
        assertEquals(emptyList(), manager.activeNotifications.toList())
    }

    /** Start trains now: in use, off the charger, on a paid network. Heat and an empty battery still stop it. */
    @Test fun startEasesThreeConditions() {
        val inHand = Conditions(false, false, 60, false, Heat.NONE, 1L shl 40)
        val quiet = hindrances(inHand, Settings().wishes.quiet)
        assertEquals(setOf(Hindrance.IN_USE, Hindrance.LOW_BATTERY, Hindrance.METERED), quiet)
        val now = Settings().wishes.now
        assertEquals(emptySet(), hindrances(inHand, now))
        assertEquals(setOf(Hindrance.HOT), hindrances(inHand.copy(heat = Heat.MODERATE), now))
        assertEquals(setOf(Hindrance.LOW_BATTERY), hindrances(inHand.copy(batteryPercent = 29), now))
    }
}
