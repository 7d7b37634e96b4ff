package org.edgeexperts.desktop

import org.edgeexperts.core.Conditions
import org.edgeexperts.core.ConfigException
import org.edgeexperts.core.Constraints
import org.edgeexperts.core.DeviceState
import org.edgeexperts.core.Doing
import org.edgeexperts.core.Ending
import org.edgeexperts.core.ExampleException
import org.edgeexperts.core.Gate
import org.edgeexperts.core.Heat
import org.edgeexperts.core.Hindrance
import org.edgeexperts.core.LossPoint
import org.edgeexperts.core.Prediction
import org.edgeexperts.core.StoreException
import org.edgeexperts.core.TrainOptions
import org.edgeexperts.core.openDevice
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.PackageFolder
import java.io.File
import java.nio.file.Files
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** A device by itself, over the real program: examples, training, predictions. */
class LocalTrainingTest {
    private val folder = Files.createTempDirectory("device").toFile()
    private val options = TrainOptions(steps = 30, learningRate = 0.02)

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    private fun state(name: String) = File(folder, name)

    private fun train(name: String): Prediction = deviceWith("cy", state(name)).use { device ->
        assertEquals(Ending.DONE, device.train(options))
        device.classify(TEXT)
    }

    /** Training on 18 examples makes the device name the label of texts it saw, and survives closing. */
    @Test
    fun aDeviceLearnsFromItsExamples() {
        val points = ArrayList<LossPoint>()
        deviceWith("cy", state("a")).use { device ->
            assertEquals(listOf("alarm", "light", "music"), device.labels)
            val untrained = device.classify(TEXT)
            assertFalse(untrained.personal)
            assertEquals(Ending.DONE, device.train(options, points::add))
            assertEquals((1..30).toList(), points.map { it.step })
            assertTrue(points.takeLast(6).map { it.loss }.average() < points.take(6).map { it.loss }.average())
            val right = device.examples().count { device.classify(it.text).label == it.label }
            assertTrue(right >= 16, "$right of 18")
            assertTrue(device.state.personal)
            assertEquals(points, device.state.losses)
        }
        deviceWith("cy", state("a")).use { device ->
            val again = device.classify(TEXT)
            assertTrue(again.personal && again.label == "music")
            assertEquals(again.confidence, again.scores.values.first())
            device.forgetTraining()
            assertFalse(device.classify(TEXT).personal)
        }
    }

    /** A second run trains the next experts on top of the first; stopped and opened again, it goes on to the same bits. */
    @Test
    fun aStoppedTrainingGoesOnToTheSameBits() {
        val whole = listOf(train("whole"), train("whole"))
        assertTrue(whole[0].scores != whole[1].scores)
        assertEquals(whole[0].scores, train("halves").scores)
        val before = deviceWith("cy", state("halves")).use { device ->
            val points = ArrayList<LossPoint>()
            assertEquals(Ending.STOPPED, device.train(options, points::add) { points.size == 12 })
            points
        }
        deviceWith("cy", state("halves")).use { device ->
            val after = ArrayList<LossPoint>()
            assertEquals(Ending.DONE, device.train(options, after::add))
            assertEquals(13, after.first().step)
            assertEquals((before + after), device.state.losses)
            assertEquals(whole[1].scores, device.classify(TEXT).scores)
        }
    }

    /** A new example makes another run of it: what was stopped does not go on with other batches. */
    @Test
    fun otherExamplesStartAnew() = deviceWith("cy", state("a")).use { device ->
        device.train(options) { device.state.step == 5 }
        device.addExample("wake me up at noon", "alarm")
        val steps = ArrayList<Int>()
        device.train(options, { steps += it.step })
        assertEquals(1, steps.first())
    }

    /** A closed gate pauses, says why, and goes on when it opens; a spent time budget ends the run, to be taken up later. */
    @Test
    fun aClosedGatePausesAndSaysWhy() = deviceWith("cy", state("a")).use { device ->
        val states = CopyOnWriteArrayList<DeviceState>()
        device.listen { states += it }
        val good = Conditions(idle = false, charging = true, batteryPercent = 5, unmetered = true, heat = Heat.LIGHT, freeBytes = 1L shl 40)
        var reads = 0
        var seconds = 0.0
        // The gate is asked for each of 18 class sums, then for each step: each time a second later.
        val asked = Constraints(needsIdle = false, runSeconds = 40.0)
        val gate = Gate(asked, { seconds++ }) { if (device.state.step == 4 && reads++ < 2) good.copy(heat = Heat.MODERATE) else good }
        assertEquals(Ending.STOPPED, device.train(options.copy(gate = gate)))
        val pauses = states.filter { it.doing == Doing.PAUSED }
        assertTrue(pauses.isNotEmpty() && pauses.all { it.step == 4 && it.hindrances == setOf(Hindrance.HOT) })
        assertTrue(device.state.step in 5 until 30)
        assertEquals(Doing.IDLE to emptySet(), device.state.doing to device.state.hindrances)
    }

    /** By this gate's clock no second goes by, so it never asks again by itself: it is told that the phone cooled down. */
    @Test
    fun aPauseEndsWhenItIsTold() = deviceWith("cy", state("a")).use { device ->
        val cool = Conditions(idle = true, charging = true, batteryPercent = 90, unmetered = true, heat = Heat.NONE, freeBytes = 1L shl 40)
        var heat = Heat.MODERATE
        device.listen { now ->
            if (now.doing == Doing.PAUSED) {
                heat = Heat.NONE
                device.wake()
            }
        }
        val gate = Gate(Constraints(), { 0.0 }) { cool.copy(heat = heat) }
        assertEquals(Ending.DONE, device.train(options.copy(steps = 2, gate = gate)))
        assertEquals(Heat.NONE, heat)
    }

    /** Examples outlive the device; an id is never given twice. */
    @Test
    fun examplesAreKept() {
        val added = deviceWith("bo", state("a")).use { device ->
            val added = device.addExample("  turn the hall off ", "light")
            assertEquals("turn the hall off", added.text)
            assertTrue(device.removeExample(added.id))
            assertFalse(device.removeExample(added.id))
            assertEquals(23, device.state.examples)
            device.addExample("dim the hall light\nnow \uD83D\uDE00, half \uD83D", "light")
        }
        deviceWith("bo", state("a")).use { device ->
            assertEquals(24, device.examples().size)
            assertEquals(added, device.examples().last())
            assertTrue(added.id > 24)
        }
    }

    /** What cannot be learned from is refused, and none of a list is kept when one is. */
    @Test
    fun badExamplesAreRefused() = openDevice(PackageFolder.open(TestPackages.packageFolder("soft")), state("a"), engine, 1).use { device ->
        assertFailsWith<ExampleException> { device.train(options) }
        assertTrue("no label 'weather'" in assertFailsWith<ExampleException> { device.addExample("rain", "weather") }.message!!)
        assertFailsWith<ExampleException> { device.addExamples(listOf("play jazz" to "music", " " to "music")) }
        assertFailsWith<ExampleException> { device.addExample("x".repeat(100_001), "music") }
        assertFailsWith<ExampleException> { device.classify(" ") }
        assertFailsWith<ConfigException> { device.train(options.copy(steps = 0)) }
        assertEquals(0, device.examples().size)
    }

    /** One device at a time works in a folder, and a folder belongs to one federation. */
    @Test
    fun aFolderBelongsToOneDevice() {
        deviceWith("cy", state("a")).use {
            assertFailsWith<StoreException> { deviceWith("cy", state("a")) }
        }
        val other = PackageFolder.open(TestPackages.packageFolder("all"))
        val refusal = assertFailsWith<StoreException> { openDevice(other, state("a"), engine) }
        assertTrue("belongs to the federation" in refusal.message!!)
        deviceWith("cy", state("a")).close() // nothing is left locked
    }

    /** An enrolment for others is refused before anything is sent. */
    @Test
    fun anEnrolmentForOthersIsRefused() = deviceWith("cy", state("a")).use { device ->
        val own = device.packageFolder.manifest.architecture.digest().joinToString("") { "%02x".format(it) }
        fun enrolment(federation: String, digest: String, more: String = "") = Enrolment.fromJson(
            """{"enrolment_format": 2, "device": "cy", "federation": "home", "federation_digest": "$federation",
            "package_digest": "$digest", "gateway": {"host": "localhost", "port": 1, "tls": false}$more}""".toByteArray(),
        )
        fun refusal(federation: String, digest: String, more: String = "") =
            assertFailsWith<ConfigException> { device.takePart(enrolment(federation, digest, more)) }.message!!
        assertTrue("for the federation aaaaaaaaaaaa…" in refusal("a".repeat(64), ""))
        assertTrue("for the package bbbbbbbbbbbb…" in refusal(own, "b".repeat(64)))
        assertTrue("is not signed" in refusal(own, "", """, "package_key": "${"c".repeat(64)}""""))
        val part = device.takePart(enrolment(own, "")) // nobody is there: it waits, and can be stopped
        assertTrue(part.running)
        part.stop()
        assertTrue(part.await(30_000))
    }

    private companion object {
        const val TEXT = "play some jazz"
    }
}
