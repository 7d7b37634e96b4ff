/** Windows that a test draws and looks at. */
package org.edgeexperts.app

import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.widget.EditText
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowPausedLooper
import java.io.File

/** How a phone is set up. */
data class Phone(
    val width: Int = 360,
    val height: Int = 780,
    val language: String = "en",
    val night: Boolean = false,
    val fontScale: Float = 1f,
) {
    fun apply() {
        val turned = if (width > height) "land" else "port"
        val theme = if (night) "night" else "notnight"
        RuntimeEnvironment.setQualifiers("$language-w${width}dp-h${height}dp-$turned-$theme-xhdpi")
        RuntimeEnvironment.setFontScale(fontScale)
    }

    override fun toString(): String =
        "${width}x$height $language ${if (night) "dark" else "light"} font $fontScale"
}

/** Opens the app on this phone. */
fun Phone.open(): ActivityController<MainActivity> {
    apply()
    return Robolectric.buildActivity(MainActivity::class.java).setup().also { idle() }
}

fun idle() = shadowOf(Looper.getMainLooper()).idle()

/** Waits until another thread gives the main one something to do, a second at most, and does it. */
fun awaitTask() {
    Shadow.extract<ShadowPausedLooper>(Looper.getMainLooper()).poll(1000)
    idle()
}

/** Opens the app, shows a scene, and hands the window on. */
fun Phone.scene(name: String, look: (MainActivity) -> Unit) {
    open().use { opened ->
        val activity = opened.get()
        val (place, state) = scenes.getValue(name)
        activity.go(place)
        activity.show(state)
        state.answer?.let { activity.findViewById<EditText>(R.id.text).setText(it.text) }
        idle()
        look(activity)
    }
}

/** Draws a view as the screen would show it. */
fun draw(view: View): Bitmap {
    idle()
    return Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888).also { view.draw(Canvas(it)) }
}

/** Draws it into a file of the folder `screenshots`. */
fun shot(view: View, name: String) {
    val file = File(System.getProperty("screenshots"), "$name.png").apply { parentFile!!.mkdirs() }
    file.outputStream().use { draw(view).compress(Bitmap.CompressFormat.PNG, 100, it) }
}
