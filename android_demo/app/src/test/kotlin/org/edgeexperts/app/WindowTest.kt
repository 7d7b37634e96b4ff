package org.edgeexperts.app

import android.app.AlertDialog
import android.content.Context
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.os.PowerManager
import android.view.View
import android.widget.EditText
import android.widget.TextView
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Model
import org.edgeexperts.background.PhoneConditions
import org.edgeexperts.app.host.Settings
import org.edgeexperts.app.ui.getAnswer
import org.edgeexperts.app.ui.putAnswer
import org.edgeexperts.app.widget.FactRow
import org.edgeexperts.app.widget.NavBar
import org.edgeexperts.core.Heat
import org.edgeexperts.core.LabelPrior
import org.edgeexperts.wire.Case
import org.edgeexperts.wire.Manifest
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowDialog
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertTrue

/** What a window keeps, and how it meets what it is given. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApp::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class WindowTest {
    private fun MainActivity.words() = window.decorView.all().filterIsInstance<TextView>().map { "${it.text}" }

    private fun MainActivity.place() = findViewById<NavBar>(R.id.nav).selected

    /** Turned, the window has its destination and the text in its field; the answer is in what it saves. */
    @Test fun aTurnedWindowIsAsItWas() {
        val saved = Bundle()
        Phone().open().use { opened ->
            host.restore(answer)
            opened.get().findViewById<EditText>(R.id.text).setText("half a thought")
            opened.get().go(2)
            opened.pause().stop().saveInstanceState(saved)
        }
        Phone(width = 780, height = 360).apply()
        Robolectric.buildActivity(MainActivity::class.java).setup(saved).use { opened ->
            idle()
            assertEquals(2, opened.get().place())
            assertEquals("half a thought", "${opened.get().findViewById<EditText>(R.id.text).text}")
        }
        assertEquals(answer, saved.getAnswer())
    }

    /** Another process shows the answer that the first one gave. */
    @Test fun anAnswerOutlivesTheProcess() {
        val saved = Bundle().apply { putAnswer(answer) }
        Robolectric.buildActivity(MainActivity::class.java).setup(saved).use { assertEquals(answer, host.state.answer) }
    }

    /** A text shared from another app is in the field. */
    @Test fun aSharedTextIsTaken() {
        val shared = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, "is there traffic?")
        Robolectric.buildActivity(MainActivity::class.java, shared).setup().use { opened ->
            idle()
            assertEquals("is there traffic?", "${opened.get().findViewById<EditText>(R.id.text).text}")
        }
    }

    /** A scanned code comes as a shared text: nobody joins unasked, a press joins; what is damaged is explained. */
    @Test fun aSharedEnrolmentIsAskedAbout() {
        fun share(text: String) = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, text)
        val text = Case.bytes("Enrolment", "accept_tls").decodeToString()
        Robolectric.buildActivity(MainActivity::class.java, share(text)).setup().use {
            idle()
            assertEquals(null, host.state.enrolment)
            val dialog = ShadowDialog.getLatestDialog() as AlertDialog
            val message = "${dialog.findViewById<TextView>(android.R.id.message).text}"
            assertTrue("federation home, as phone-1, at the gateway gateway.example" in message, message)
            dialog.getButton(AlertDialog.BUTTON_POSITIVE).performClick()
            idle()
            waitFor { it.enrolment != null }
            assertEquals("phone-1", host.state.enrolment?.device)
        }
        Robolectric.buildActivity(MainActivity::class.java, share(text.dropLast(9))).setup().use { opened ->
            waitFor { it.problem != null }
            assertTrue("This is not an enrolment file the app can use" in opened.get().words())
        }
    }

    /** A file that is no package: what happened and what to do, no exception; its words come only when asked for. */
    @Test fun aWrongFileIsExplained() = Phone().open().use { opened ->
        val activity = opened.get()
        val uri = Uri.parse("content://files/text.zip")
        shadowOf(activity.contentResolver).registerInputStream(uri, "no zip".byteInputStream())
        host.importZip(uri)
        waitFor { it.problem != null }
        val words = activity.words()
        assertTrue("This is not a package that the app can use" in words, "$words")
        assertFalse(activity.findViewById<View>(R.id.problem_detail).isShown)
        activity.press(R.id.problem_more)
        assertTrue(activity.findViewById<TextView>(R.id.problem_detail).run { isShown && "no zip file" in text })
        activity.press(R.id.problem_close)
        assertFalse(activity.findViewById<View>(R.id.problem).isShown)
    }

    /** An enrolment that is none is refused in words, and nothing is kept of it. */
    @Test fun aWrongEnrolmentIsExplained() = Phone().open().use { opened ->
        opened.get().go(2)
        opened.get().choose(R.id.enrol, "enrolment.json", "{}".toByteArray())
        waitFor { it.problem != null }
        assertTrue("This is not an enrolment file the app can use" in opened.get().words())
        assertEquals(null, host.state.enrolment)
    }

    /** An enrolment damaged on disk is told of; the app opens all the same. */
    @Test fun aDamagedEnrolmentIsExplained() {
        val file = File(RuntimeEnvironment.getApplication().noBackupFilesDir, "enrolment.json")
        file.writeText("{\"enrolment_format\": 2")
        Phone().open().use { opened ->
            waitFor { it.problem != null }
            assertTrue("This is not an enrolment file the app can use" in opened.get().words())
        }
    }

    /** Usual labels are favoured once the user says so: the choice is shown, kept for the next process, and no run's business. */
    @Test fun usualLabelsAreFavouredWhenAskedFor() = Phone().open().use { opened ->
        val activity = opened.get()
        activity.go(3)
        fun shown() = "${activity.findViewById<FactRow>(R.id.prior).value}"
        assertEquals("no", shown())
        activity.chooseOption(R.id.prior, "half")
        assertEquals("half", shown())
        val kept = RuntimeEnvironment.getApplication().getSharedPreferences("app", Context.MODE_PRIVATE)
        assertEquals(LabelPrior.HALF, Settings.read(kept).labelPrior)
        assertEquals(Settings().wishes, host.state.settings.wishes)
    }

    /** A tier of the upper layer alone says so; one of all layers does not. */
    @Test fun theTierSaysHowDeepItTrains() = Phone().open().use { opened ->
        val deep = Model(Manifest.fromJson(Case.bytes("Manifest", "accept_depth")), "")
        fun shown(tier: String): String {
            opened.get().show(training.copy(model = deep, device = training.device.copy(tier = tier)))
            return "${opened.get().findViewById<FactRow>(R.id.fact_tier).value}"
        }
        assertEquals("up to 3 texts in 2 × 8 tokens, 2 slots, 1 of 2 layers", shown("l1_m1_f1_s8_r2_b3"))
        assertEquals("up to 3 texts in 2 × 8 tokens, 2 slots", shown("m1_f1_s8_r2_b3"))
    }

    /** The label dialog: everything in it can be read and pressed, in the dark and with large letters, too. */
    @Test fun theLabelDialogIsWhole() {
        for (phone in listOf(Phone(), Phone(language = "de", night = true, fontScale = 2f))) {
            phone.scene("classify") { activity ->
                host.restore(answer)
                activity.press(R.id.correct)
                val window = assertNotNull(ShadowDialog.getLatestDialog().window).decorView
                assertEquals(emptyList(), cutTexts(window) + touchFaults(window) + faintTexts(window, draw(window)), "$phone")
                shot(window, "labels-${phone.language}")
            }
        }
    }

    /** Hot from what the system says; on phones before Android 10 from the battery's temperature. */
    @Test fun heatIsRead() {
        val app = RuntimeEnvironment.getApplication()
        shadowOf(app.getSystemService(PowerManager::class.java)).setCurrentThermalStatus(PowerManager.THERMAL_STATUS_SEVERE)
        plug(charging = true, percent = 73)
        val conditions = PhoneConditions(app).read()
        assertEquals(listOf(Heat.SEVERE, true, 73), listOf(conditions.heat, conditions.charging, conditions.batteryPercent))
    }

    /** A charger, the screen and heat are told once each, and no more after the watch is closed. */
    @Test fun changesAreTold() {
        val app = RuntimeEnvironment.getApplication()
        val power = shadowOf(app.getSystemService(PowerManager::class.java))
        var told = 0
        val watch = PhoneConditions(app).watch { told++ }
        idle()
        val steps = listOf(
            { app.sendBroadcast(Intent(Intent.ACTION_POWER_CONNECTED)) },
            { app.sendBroadcast(Intent(Intent.ACTION_SCREEN_OFF)) },
            { power.setCurrentThermalStatus(PowerManager.THERMAL_STATUS_SEVERE) },
        )
        for (step in steps) {
            val before = told
            step()
            idle()
            assertEquals(before + 1, told)
        }
        watch.close()
        val before = told
        steps.forEach { it() }
        idle()
        assertEquals(before, told)
    }

    private fun waitFor(asked: (AppState) -> Boolean) {
        val end = System.nanoTime() + 20_000_000_000L
        while (!asked(host.state) && System.nanoTime() < end) awaitTask()
        idle()
        assertTrue(asked(host.state), "${host.state}")
    }
}
