package org.edgeexperts.app

import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import java.io.File
import kotlin.test.assertTrue

/** Pictures of every scene, for people to look at: target/screenshots. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApp::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreenshotsTest {
    private fun shoot(folder: String, phone: Phone) {
        for (name in scenes.keys) phone.scene(name) { shot(it.window.decorView, "$folder/$name") }
        val drawn = File(System.getProperty("screenshots"), folder).listFiles().orEmpty()
        assertTrue(drawn.count { it.length() > SMALLEST } >= scenes.size, "$folder: ${drawn.map { it.length() }}")
    }

    @Test fun light() = shoot("light", Phone())

    @Test fun dark() = shoot("dark", Phone(language = "de", night = true))

    @Test fun largestFont() = shoot("font-2.0", Phone(height = 1400, language = "de", fontScale = 2f))

    @Test fun landscape() = shoot("landscape", Phone(width = 780, height = 360))

    private companion object {
        /** Bytes of a picture of 720 x 1560 with anything on it; an empty one has fewer. */
        const val SMALLEST = 12_000
    }
}
