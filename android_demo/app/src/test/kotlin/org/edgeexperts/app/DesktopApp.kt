/** The app with the desktop library as its engine, and a hand that uses it as a user does. */
package org.edgeexperts.app

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.net.Uri
import android.os.BatteryManager
import android.view.View
import android.widget.EditText
import android.widget.ListView
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Host
import org.edgeexperts.app.host.ModelPhase
import org.edgeexperts.core.Engine
import org.edgeexperts.desktop.TestPackages
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowDialog
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import kotlin.test.assertTrue

/** The app with the project's C library in place of Android's. */
class DesktopApp : EdgeApp() {
    override fun engine(): Engine = org.edgeexperts.desktop.engine
}

/** The screen without the rest of a state: what a test waits for. */
val host: Host get() = (RuntimeEnvironment.getApplication() as EdgeApp).host

/** Waits until the state is as asked; a problem that comes up instead ends the wait. */
fun until(what: String, seconds: Int = 60, asked: (AppState) -> Boolean) {
    val end = System.nanoTime() + seconds * 1_000_000_000L
    while (true) {
        idle()
        if (asked(host.state)) return idle() // it may have come since; the screens show it from here on
        val state = host.state
        assertTrue(state.problem == null, "waiting for $what: ${state.problem?.detail}")
        assertTrue(System.nanoTime() < end, "waiting for $what: ${state.device}, mode ${state.mode}")
        awaitTask()
    }
}

fun Activity.press(id: Int) {
    val view = findViewById<View>(id)
    assertTrue(view.isShown && view.isEnabled, resources.getResourceEntryName(id))
    view.performClick()
    idle()
}

/** Presses a button that opens the document picker, and chooses a file with these bytes. */
fun Activity.choose(button: Int, name: String, data: ByteArray) {
    press(button)
    val asked = shadowOf(this).nextStartedActivityForResult
    val uri = Uri.parse("content://files/$name")
    shadowOf(contentResolver).registerInputStream(uri, ByteArrayInputStream(data))
    shadowOf(this).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(uri))
    idle()
}

/** Returns a package folder as a zip file in memory, in a folder of its own as file managers make them. */
fun zipOf(folder: File): ByteArray {
    val data = ByteArrayOutputStream()
    ZipOutputStream(data).use { zip ->
        for (file in folder.walk().filter { it.isFile }) {
            zip.putNextEntry(ZipEntry("package/" + file.relativeTo(folder).path))
            zip.write(file.readBytes())
        }
    }
    return data.toByteArray()
}

/** Imports the little package through the picker. */
fun MainActivity.importPackage() {
    choose(R.id.model_zip, "package.zip", zipOf(TestPackages.packageFolder("soft")))
    until("the model") { it.phase == ModelPhase.READY && it.model != null }
}

/** Types a text and presses Classify. */
fun MainActivity.classify(text: String) {
    go(0)
    findViewById<EditText>(R.id.text).setText(text)
    press(R.id.classify_action)
    until("an answer") { it.answer?.text == text && !it.reading }
}

/** Says what the right label of the answer is: one press if it was right, else through the list of labels. */
fun MainActivity.label(right: String) {
    val answer = host.state.answer!!
    if (answer.prediction.label == right) {
        press(R.id.confirm)
    } else {
        press(R.id.correct)
        val list = ShadowDialog.getLatestDialog().findViewById<ListView>(R.id.labels)
        val place = (0 until list.adapter.count).first { "${list.adapter.getItem(it)}" == right }
        shadowOf(list).performItemClick(place)
    }
    until("the example") { it.answer?.kept?.label == right }
}

/** Presses a row of the settings and chooses one of its options. */
fun Activity.chooseOption(row: Int, option: String) {
    press(row)
    val list = (ShadowDialog.getLatestDialog() as AlertDialog).listView
    shadowOf(list).performItemClick((0 until list.adapter.count).first { list.adapter.getItem(it) == option })
    idle()
}

/** Teaches the app the texts of a device of the little federation. */
fun MainActivity.teach(name: String): Int {
    val rows = TestPackages.texts(name).readLines().drop(1)
    for (row in rows) {
        classify(row.substringBeforeLast(','))
        label(row.substringAfterLast(','))
    }
    until("all examples") { it.examples.size == rows.size }
    return rows.size
}

/** Puts the phone on a charger or takes it off. */
@Suppress("DEPRECATION") // how the system tells it
fun plug(charging: Boolean, percent: Int = 90) = RuntimeEnvironment.getApplication().sendStickyBroadcast(
    Intent(Intent.ACTION_BATTERY_CHANGED)
        .putExtra(BatteryManager.EXTRA_PLUGGED, if (charging) BatteryManager.BATTERY_PLUGGED_AC else 0)
        .putExtra(BatteryManager.EXTRA_LEVEL, percent)
        .putExtra(BatteryManager.EXTRA_SCALE, 100),
)
