package org.edgeexperts.core

import org.edgeexperts.wire.PRIOR_STRENGTHS
import org.edgeexperts.wire.PackageFolder
import org.junit.Rule
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertSame

private const val CLOSE = 1e-6

/** What the rule makes of numbers is in the shared vectors; here is whose labels a device counts, and when. */
class LabelPriorTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private class ToyEngine(private val folder: PackageFolder) : Engine {
        override val name = "toy"

        override fun load(program: File, threads: Int): Program = ToyProgram(folder)
    }

    /** There is one for each strength of the contract; off hands the model's probabilities on. */
    @Test
    fun thereIsOneForEachStrength() {
        assertEquals(PRIOR_STRENGTHS, LabelPrior.entries.map(LabelPrior::strength))
        val model = floatArrayOf(0.75f, 0.25f)
        assertSame(model, LabelPrior.OFF.applied(model, floatArrayOf(0f, 8f)))
    }

    /** The model says "alarm" by 3 to 1; of eight examples of "music" and one of "alarm" follows 2 * 3 to 9 * 1. */
    @Test
    fun aDeviceCountsTheExamplesThatItHasNow() {
        val toy = writeToy(File(temporary.root, "package"))
        openDevice(toy, File(temporary.root, "state"), ToyEngine(toy)).use { device ->
            device.addExamples(List(8) { "play $it" to "music" } + ("wake me" to "alarm"))
            assertEquals("alarm" to 0.75, device.classify("me").run { label to confidence })
            val full = device.classify("me", LabelPrior.FULL)
            assertEquals(listOf("music", "alarm"), full.scores.keys.toList())
            assertEquals(0.6, full.confidence, CLOSE)
            val half = device.classify("me", LabelPrior.HALF) // roots: 1.4142 * 3 to 3 * 1
            assertEquals("alarm", half.label)
            assertEquals(0.585786, half.confidence, CLOSE)
            device.examples().filter { it.label == "music" }.drop(1).forEach { device.removeExample(it.id) }
            assertEquals(0.75, device.classify("me", LabelPrior.FULL).confidence) // one of each: nothing to follow
        }
    }
}
