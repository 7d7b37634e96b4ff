package org.edgeexperts.desktop

import org.edgeexperts.core.DeviceState
import org.edgeexperts.core.EdgeDevice
import org.edgeexperts.core.LinkState
import org.edgeexperts.core.PartOptions
import org.edgeexperts.core.openDevice
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.parseJson
import java.io.File
import java.nio.file.Files
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.TimeUnit
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

private const val LIMIT_S = 120L

/** Opens a device with the texts of `name`; Python's code for CSV is not needed for what little.py writes. */
fun deviceWith(name: String, state: File): EdgeDevice {
    val device = openDevice(PackageFolder.open(Little.packageFolder("soft")), state, engine, threads = 1)
    if (device.examples().isEmpty()) {
        device.addExamples(Little.texts(name).readLines().drop(1).map { it.substringBeforeLast(',') to it.substringAfterLast(',') })
    }
    return device
}

/** A gateway and Python devices in processes of their own. */
private class Federation(folder: File, steps: Int, vararg names: String) : AutoCloseable {
    private val process = startPython(
        "federation.py", folder.path, Little.packageFolder("soft").path, "$steps",
        *names.map { "$it=${Little.texts(it)}" }.toTypedArray(),
    )
    private val printed = process.inputStream.bufferedReader()
    val enrolmentFile = File(checkNotNull(printed.readLine()) { "the gateway did not start" })

    /** Waits for its end and returns what it told. */
    fun told(): Any? = parseJson(printed.readText().toByteArray(), "federation.py").also {
        assertTrue(process.waitFor(LIMIT_S, TimeUnit.SECONDS))
        assertEquals(0, process.exitValue())
    }

    override fun close() {
        process.destroy()
        process.waitFor()
    }
}

/** Two rounds of three devices over a real gateway: whatever language the third is written in, the same versions. */
class FederationTest {
    private val folder = Files.createTempDirectory("federation").toFile()

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    private fun house(name: String) = File(folder, name).apply { mkdirs() }

    /**
     * A Kotlin device and two of Python, then three of Python, with the same texts: all four versions (initial, head, two
     * merges) are bit-identical. The device then predicts with the last.
     */
    @Test
    fun aRoundWithAKotlinDeviceEndsInTheSameBits() {
        val states = CopyOnWriteArrayList<DeviceState>()
        val mixed = Federation(house("mixed"), STEPS, "ada", "bo").use { federation ->
            deviceWith("cy", File(folder, "cy")).use { device ->
                device.listen { states += it }
                val before = device.classify("play some jazz")
                val enrolment = Enrolment.fromJson(federation.enrolmentFile.readBytes())
                val part = device.takePart(enrolment, PartOptions())
                assertTrue(part.await(TimeUnit.SECONDS.toMillis(LIMIT_S)), "still at ${device.state}")
                val after = device.classify("play some jazz")
                assertEquals(listOf(0L, 3L), listOf(before.version, after.version))
                assertTrue(before.scores != after.scores && after.scores.values.sum() in 0.999..1.001)
                federation.told()
            }
        }
        val alone = Federation(house("alone"), STEPS, "ada", "bo", "cy").use(Federation::told)
        assertEquals(4, mixed["digests"].items.size)
        assertEquals(alone["digests"], mixed["digests"])
        assertEquals(listOf<Any?>(3L, 3L), mixed["accepted"])
        told(states)
    }

    /** What an app shows of those two rounds. */
    private fun told(states: List<DeviceState>) {
        val last = states.last()
        assertEquals(listOf("hello", "statistics", "delta", "delta"), last.verdicts.map { it.kind })
        assertTrue(last.verdicts.all { it.accepted })
        assertEquals(listOf(1L, 2L), last.verdicts.takeLast(2).map { it.round })
        assertEquals(listOf(2L, 2L, 3L), listOf(last.round, last.roundsPlanned, last.version))
        assertEquals(STEPS, last.losses.size)
        assertEquals(listOf(STEPS, STEPS, 18), listOf(last.step, last.steps, last.examples))
        assertTrue(last.bytesUp > 10_000 && last.bytesDown > 10_000 && last.stepMs > 0 && last.peakMemoryMib > 0)
        assertEquals(listOf(0, 1), last.experts.map { it.layer })
        assertTrue(last.experts.all { it.trained.size == 2 })
        assertEquals(LinkState.OFFLINE, last.link)
        assertTrue(states.any { it.link == LinkState.MEMBER } && last.notice.isEmpty())
    }

    private companion object {
        const val STEPS = 40
    }
}
