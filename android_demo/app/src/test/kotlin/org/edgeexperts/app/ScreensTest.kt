package org.edgeexperts.app

import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import kotlin.test.assertEquals

/** High enough that every screen is whole on it, also with letters of twice the size. */
private const val TALL = 3600

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34], application = TestApp::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreensTest {
    private fun look(phone: Phone) {
        val wrong = scenes.keys.flatMap { name ->
            var faults = emptyList<String>()
            phone.scene(name) { activity ->
                faults = faults(activity.window.decorView).map { "$name: $it" }
            }
            faults
        }
        assertEquals(emptyList(), wrong, "$phone")
    }

    /** Nothing is cut off, overlaps, is too small to press or too faint to read: English, light. */
    @Test fun everyScreenIsWhole() = look(Phone(height = TALL))

    /** The same in the dark, in German, whose words are longer. */
    @Test fun everyScreenIsWholeInGermanAndDark() = look(Phone(height = TALL, language = "de", night = true))

    /** The same with letters of twice the size. */
    @Test fun everyScreenIsWholeWithTheLargestFont() = look(Phone(height = TALL, language = "de", fontScale = 2f))

    /** The same on a narrow phone, with letters a third larger. */
    @Test fun everyScreenIsWholeOnANarrowPhone() = look(Phone(width = 320, height = TALL, fontScale = 1.3f))
}
