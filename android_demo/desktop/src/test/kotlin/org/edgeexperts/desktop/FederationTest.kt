package org.edgeexperts.desktop

import org.edgeexperts.core.Conditions
import org.edgeexperts.core.ConfigException
import org.edgeexperts.core.Constraints
import org.edgeexperts.core.DeviceState
import org.edgeexperts.core.Doing
import org.edgeexperts.core.EdgeDevice
import org.edgeexperts.core.Gate
import org.edgeexperts.core.Heat
import org.edgeexperts.core.Hindrance
import org.edgeexperts.core.LinkState
import org.edgeexperts.core.PartOptions
import org.edgeexperts.core.TrainOptions
import org.edgeexperts.core.WorkState
import org.edgeexperts.core.openDevice
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.PackageFolder
import java.io.File
import java.nio.file.Files
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.TimeUnit
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

private const val LIMIT_S = 300L // of what must happen, on a machine that has much to do

/** Opens a device with the texts of `name`; Python's code for CSV is not needed for what little.py writes. */
fun deviceWith(name: String, state: File, packageName: String = "soft"): EdgeDevice {
    val device = openDevice(PackageFolder.open(TestPackages.packageFolder(packageName)), state, engine, threads = 1)
    if (device.examples().isEmpty()) {
        device.addExamples(TestPackages.texts(name).readLines().drop(1).map { it.substringBeforeLast(',') to it.substringAfterLast(',') })
    }
    return device
}

/** Two rounds of three devices over a real gateway: whatever language the third is written in, the same versions. */
class FederationTest {
    private val folder = Files.createTempDirectory("federation").toFile()

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    private fun folderOf(name: String) = File(folder, name).apply { mkdirs() }

    /** A phone that is put to other uses after step 20 of round 1, three times, and is left alone again each time. */
    private class InterruptedPhone(private val states: List<DeviceState>) {
        private val good =
            Conditions(idle = true, charging = false, batteryPercent = 80, unmetered = true, heat = Heat.NONE, freeBytes = 1L shl 40)
        private val troubles = listOf(
            good.copy(batteryPercent = 10), good, good.copy(heat = Heat.SEVERE), good, good.copy(unmetered = false),
        )
        private var reads = 0
        private var seconds = 0.0
        val gate = Gate(Constraints(), { seconds++ }) {
            val now = states.lastOrNull()
            val trouble = if (now?.round == 1L && now.step >= 20) troubles.getOrNull(reads++ / READS_EACH) else null
            trouble ?: good
        }
    }

    /**
     * A Kotlin device, which has to pause three times, and two of Python; then three of Python with the same texts: all four
     * versions (initial, head, two merges) are bit-identical. The device then predicts with the last.
     */
    @Test
    fun aRoundWithAKotlinDeviceEndsInTheSameBits() {
        val states = CopyOnWriteArrayList<DeviceState>()
        val mixed = Federation(folderOf("mixed"), STEPS, "ada", "bo").use { federation ->
            deviceWith("cy", File(folder, "cy")).use { device ->
                device.listen { states += it }
                val before = device.classify("play some jazz")
                val enrolment = Enrolment.fromJson(federation.enrolmentFile.readBytes())
                val part = device.takePart(enrolment, PartOptions(gate = InterruptedPhone(states).gate))
                assertFailsWith<ConfigException> { device.takePart(enrolment) }
                assertFailsWith<ConfigException> { device.train(TrainOptions(steps = 1)) }
                assertTrue(part.await(TimeUnit.SECONDS.toMillis(LIMIT_S)), "still at ${device.state}")
                val after = device.classify("play some jazz")
                assertEquals(listOf(0L, 3L), listOf(before.version, after.version))
                assertTrue(before.scores != after.scores && after.scores.values.sum() in 0.999..1.001)
                federation.told()
            }
        }
        assertEquals(4, alone["digests"].items.size)
        assertEquals(alone["digests"], mixed["digests"])
        assertEquals(listOf<Any?>(3L, 3L), mixed["accepted"])
        paused(states)
        told(states)
        packed(states.last { it.step > 0 })
    }

    /** Of the tiers with as many slots it trained in the one with the fewest rows that hold its texts, and filled it. */
    private fun packed(state: DeviceState) {
        assertEquals("m2_f0_s16_r2_b4", state.tier)
        assertTrue(state.fill.textsPerStep in 3.6..4.0 && state.fill.share in 0.6..0.9, "${state.fill}")
    }

    /** Each trouble stops training where it is, and is named; afterwards it goes on from there. */
    private fun paused(states: List<DeviceState>) {
        val pauses = states.filter { it.doing == Doing.PAUSED }
        assertTrue(pauses.all { it.round == 1L && it.step >= 20 && it.work == WorkState.TRAINING })
        val reasons = pauses.map { it.hindrances }.fold(emptyList<Set<Hindrance>>()) { seen, next ->
            if (seen.lastOrNull() == next) seen else seen + listOf(next)
        }
        assertEquals(listOf(setOf(Hindrance.LOW_BATTERY), setOf(Hindrance.HOT), setOf(Hindrance.METERED)), reasons)
    }

    /**
     * The same with a package that trains the upper layer alone: plans go as deep as Hellos said. Nobody changes the lower layer,
     * so the prefixes of 18 texts hold for both rounds.
     */
    @Test
    fun roundsOfTheUpperLayerEndInTheSameBits() {
        fun federation(name: String, vararg names: String) = Federation(folderOf(name), FEW_STEPS, *names, packageName = "upper")
        val told = federation("upper", "ada", "bo").use { federation ->
            deviceWith("cy", File(folder, "upper-cy"), "upper").use { device ->
                val part = device.takePart(Enrolment.fromJson(federation.enrolmentFile.readBytes()))
                assertTrue(part.await(TimeUnit.SECONDS.toMillis(LIMIT_S)), "still at ${device.state}")
                assertEquals(listOf(1), device.state.experts.map { it.layer })
                assertEquals(18, File(folder, "upper-cy/prefixes").list()!!.size)
                federation.told()
            }
        }
        assertEquals(listOf<Any?>(3L, 3L), told["accepted"])
        assertEquals(federation("upper-alone", "ada", "bo", "cy").use(Federation::told)["digests"], told["digests"])
    }

    /** A device that is killed between a step and its checkpoint goes on where the checkpoint was: the same versions. */
    @Test
    fun aKilledDeviceGoesOnToTheSameBits() {
        val told = Federation(folderOf("killed"), STEPS, "ada", "bo").use { federation ->
            val state = File(folder, "killed-cy")
            val first = DeviceProcess.start(state, federation.enrolmentFile, hang = 15)
            DeviceProcess.await(first.inputStream.bufferedReader(), "hangs")
            first.destroyForcibly().waitFor()
            val second = DeviceProcess.start(state, federation.enrolmentFile, hang = 0)
            val lines = second.inputStream.bufferedReader()
            assertEquals("begins after 14", DeviceProcess.await(lines, "begins"))
            assertTrue(second.waitFor(LIMIT_S, TimeUnit.SECONDS))
            assertEquals(0, second.exitValue())
            federation.told()
        }
        assertEquals(alone["digests"], told["digests"])
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
        const val FEW_STEPS = 10
        const val READS_EACH = 3

        /** What three Python devices make of it. */
        val alone by lazy {
            val folder = Files.createTempDirectory("alone").toFile()
            try {
                Federation(folder, STEPS, "ada", "bo", "cy").use(Federation::told)
            } finally {
                folder.deleteRecursively()
            }
        }
    }
}
