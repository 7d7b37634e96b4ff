package org.edgeexperts.app

import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.content.Intent
import android.net.ConnectivityManager
import android.os.PowerManager
import android.view.View
import android.widget.TextView
import org.edgeexperts.app.widget.FactRow
import org.edgeexperts.app.widget.LossChart
import org.edgeexperts.background.Mode
import org.edgeexperts.background.TrainingJob
import org.edgeexperts.background.TrainingJobs
import org.edgeexperts.desktop.Federation
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadow.api.Shadow
import java.nio.file.Files
import kotlin.test.assertEquals
import kotlin.test.assertNotEquals
import kotlin.test.assertTrue

private const val PROBE = "play some jazz"

/** The app as a user uses it: a real package, really trained, with a real gateway. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = DesktopApp::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class TakesPartTest {
    private val app get() = RuntimeEnvironment.getApplication()

    private fun MainActivity.text(id: Int) = "${findViewById<TextView>(id).text}"

    /** Import, 18 texts corrected by hand, Start: the loss falls, the chart has every step, and the phone knows more. */
    @Test fun thePhoneTrainsAlone() {
        plug(charging = false)
        Phone().open().use { opened ->
            val activity = opened.get()
            activity.importPackage()
            val count = activity.teach("cy")
            activity.go(1)
            assertEquals("Off", activity.text(R.id.phase))
            activity.press(R.id.start)
            until("training") { it.upToDate }
            assertEquals("Ready", activity.text(R.id.phase))
            val losses = activity.findViewById<LossChart>(R.id.loss).points.map { it.loss }
            assertEquals(20, losses.size) // four times 18 examples, and no fewer than 20 steps
            assertTrue(losses.takeLast(5).average() < losses.take(5).average(), "$losses")
            shot(activity.window.decorView, "real/trained-alone")
            val right = host.state.examples.count { example ->
                activity.classify(example.text)
                host.state.answer!!.prediction.run { personal && label == example.label }
            }
            assertTrue(right >= count - 2, "$right of $count")
            favoursUsualLabels(activity)
        }
    }

    /** Of 18 examples 5 are alarm, 7 music, 6 light: the answer that is shown is weighed by 18/21, 24/21 and 1 at once. */
    private fun favoursUsualLabels(activity: MainActivity) {
        activity.classify(PROBE)
        val plain = host.state.answer!!.prediction.scores
        activity.go(3)
        activity.chooseOption(R.id.prior, "fully")
        until("another answer") { it.answer!!.prediction.scores != plain }
        val weighed = plain.mapValues { (label, probability) -> probability * FACTORS.getValue(label) }
        for ((label, probability) in host.state.answer!!.prediction.scores) {
            assertEquals(weighed.getValue(label) / weighed.values.sum(), probability, 1e-6)
        }
    }

    /**
     * Round 1 by a press on Start, round 2 by the job while the phone lies on its charger unused; two Python devices take
     * part in both. The phone then predicts with the merged version.
     */
    @Test fun thePhoneTakesPartInTwoRounds() {
        plug(charging = true)
        val folder = Files.createTempDirectory("federation").toFile()
        val opened = Phone().open()
        val activity = opened.get()
        activity.importPackage()
        activity.teach("cy")
        activity.classify(PROBE)
        val before = host.state.answer!!.prediction
        Federation(folder, STEPS, "ada", "bo").use { federation ->
            activity.go(2)
            activity.choose(R.id.enrol, "enrolment.json", federation.enrolmentFile.readBytes())
            until("the enrolment") { it.enrolment != null }
            activity.go(1)
            activity.press(R.id.start)
            assertTrue(scheduled(TrainingJobs.NOW))
            until("the first verdict") { state -> state.device.verdicts.any { it.kind == "delta" } }
            until("the conditions to count again") { it.mode == Mode.QUIET }
            leave(opened::pause, opened::stop)
            val job = job()
            assertTrue(job.onStartJob(parameters))
            until("the last version") { it.device.version == 3L && it.mode == Mode.NONE }
            job.onStopJob(parameters)
            federation.told()
        }
        opened.start().resume()
        activity.classify(PROBE)
        val after = host.state.answer!!.prediction
        assertEquals(listOf(0L, 3L), listOf(before.version, after.version))
        assertNotEquals(before.scores, after.scores)
        activity.go(2)
        assertTrue("Round 2: accepted" in activity.window.decorView.all().filterIsInstance<TextView>().map { "${it.text}" })
        assertEquals("2 of 2", "${activity.findViewById<FactRow>(R.id.fact_round).value}")
        layOut(activity.window.decorView)
        shot(activity.window.decorView, "real/federation")
        opened.close()
        folder.deleteRecursively()
    }

    private val parameters: JobParameters by lazy { Shadow.newInstanceOf(JobParameters::class.java) }

    private fun job() = Robolectric.buildService(TrainingJob::class.java).create().get().apply { onBind(Intent()) }

    private fun scheduled(id: Int) = app.getSystemService(JobScheduler::class.java).getPendingJob(id) != null

    /** The user puts the phone away: the window goes, the screen turns dark, the network costs nothing. */
    private fun leave(vararg steps: () -> Unit) {
        steps.forEach { it() }
        shadowOf(app.getSystemService(PowerManager::class.java)).turnScreenOn(false)
        val network = app.getSystemService(ConnectivityManager::class.java)
        @Suppress("DEPRECATION") // the way there is to say it to Robolectric
        shadowOf(network).setActiveNetworkInfo(network.getNetworkInfo(ConnectivityManager.TYPE_WIFI))
        idle()
    }

    /** A window that came back is not laid out again by Robolectric. */
    private fun layOut(window: View) {
        fun exactly(size: Int) = View.MeasureSpec.makeMeasureSpec(size, View.MeasureSpec.EXACTLY)
        window.measure(exactly(window.width), exactly(window.height))
        window.layout(0, 0, window.width, window.height)
    }

    private companion object {
        const val STEPS = 20
        val FACTORS = mapOf("alarm" to 18.0 / 21, "music" to 24.0 / 21, "light" to 1.0)
    }
}
