package org.edgeexperts.core

import java.io.File
import java.nio.file.Files
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** The small decisions of a device, with numbers found by hand. */
class DecisionsTest {
    /** An unused expert gets four times the weight of one at the mean, one that is used four times the mean a quarter. */
    @Test
    fun rarelyUsedExpertsAreTheTarget() {
        val q = balanceTarget(floatArrayOf(0f, 0.5f, 8f), 0.5)
        // rho = 4, 1, 1/4, sum 5.25; q = 0.1/3 + 0.9 rho / 5.25.
        listOf(0.719048, 0.204762, 0.07619).forEachIndexed { place, value -> assertEquals(value, q[place].toDouble(), 1e-5) }
    }

    /** As `edge_runtime train` tells it: one label where texts have several; no more right than before, unless all are. */
    @Test
    fun aTrainingInVainSaysSo() {
        fun told(before: List<Int>, after: List<Int>, labels: List<Int>) = shortfalls(before, after, labels)
        assertEquals(setOf(Shortfall.NO_BETTER), told(listOf(0, 0, 1), listOf(0, 1, 2), listOf(0, 1, 1)))
        assertEquals(setOf(Shortfall.ONE_LABEL), told(listOf(2, 2, 2), listOf(1, 1, 1), listOf(0, 1, 1)))
        assertEquals(emptySet(), told(listOf(0, 1, 1), listOf(0, 1, 1), listOf(0, 1, 1)))
        assertEquals(emptySet(), told(listOf(0, 1, 1), listOf(1, 1, 1), listOf(1, 1, 1)))
        assertEquals(listOf(0, 2, 5, 7), sample(10, 4))
    }

    /** Equal shares do not differ, disjoint ones differ by one bit, and nothing is not compared. */
    @Test
    fun divergenceIsInBits() {
        assertEquals(0.0, divergence(floatArrayOf(2f, 2f), floatArrayOf(5f, 5f)), 1e-12)
        assertEquals(1.0, divergence(floatArrayOf(1f, 0f), floatArrayOf(0f, 3f)), 1e-12)
        assertEquals(0.0, divergence(floatArrayOf(0f, 0f), floatArrayOf(0f, 3f)))
        // m = 5/8, 3/8: (1/2 log2 4/5 + 1/2 log2 4/3 + 3/4 log2 6/5 + 1/4 log2 2/3) / 2
        assertEquals(0.048795, divergence(floatArrayOf(1f, 1f), floatArrayOf(3f, 1f)), 1e-6)
    }

    /** Small and unusual devices are pushed less, one held expert is not pushed, and 0.1 is the most. */
    @Test
    fun thePressureFitsTheDevice() {
        assertEquals(listOf(0.0, 0.02, 0.1), listOf(balanceWeight(1.0, 0.0, 1, 8), balanceWeight(0.08, 0.5, 4, 8), balanceWeight(9.0, 0.0, 8, 8)))
    }

    /** A timer's waits double from 5 s to 300 s, jitter takes up to half; one that is stopped starts again from 5. */
    @Test
    fun timersBackOff() {
        var now = 0.0
        val timers = Timers({ now }, { 0.0 })
        val waits = List(9) {
            timers.again(Due.HELLO)
            val wait = timers.pause(1000.0)
            now += wait
            assertEquals(listOf(Due.HELLO), timers.takeDue())
            wait
        }
        assertEquals(listOf(2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 150.0, 150.0, 150.0), waits)
        assertEquals(emptyList(), timers.takeDue())
        timers.stop(Due.HELLO)
        timers.again(Due.HELLO)
        assertEquals(2.5, timers.pause(1000.0))
        timers.again(Due.WANT, 1.0)
        assertEquals(1.0, timers.pause(1000.0))
        timers.stopAll()
        assertEquals(7.0, timers.pause(7.0))
    }

    /** Prefixes are rounded to 127 steps of their group's largest, half to even; zeros stay zeros. */
    @Test
    fun prefixesAreRounded() {
        val values = floatArrayOf(127f, 2.5f, -3.5f, 0f, 0f, 0f, 0f, 0f) // two groups of gcd(4, 64)
        assertContentEquals(floatArrayOf(127f, 2f, -4f, 0f, 0f, 0f, 0f, 0f), decodePrefix(encodePrefix(values, 4), 8, 4))
    }

    /** Kept prefixes are found again; damaged ones are not; when all is in use, what is new is not kept. */
    @Test
    fun prefixesAreKeptWithinTheirRoom() {
        val folder = Files.createTempDirectory("prefixes").toFile()
        try {
            val (a, b, c) = List(3) { ByteArray(32) { _ -> it.toByte() } }
            val cache = DiskPrefixes(folder, limit = 8192)
            listOf(a, b, c).forEach { cache.put(it, byteArrayOf(it[0], 7), "") }
            assertContentEquals(byteArrayOf(0, 7), cache.get(a, ""))
            assertNull(cache.get(c, ""))
            folder.listFiles()!!.forEach { it.setLastModified(1000) }
            val later = DiskPrefixes(folder, limit = 8192)
            assertContentEquals(byteArrayOf(0, 7), later.get(a, "")) // used now, so b is the one to go
            later.put(c, byteArrayOf(9), "")
            assertContentEquals(byteArrayOf(9), later.get(c, ""))
            assertNull(later.get(b, ""))
            File(folder, folder.list()!!.first()).writeText("damaged")
            assertEquals(1, listOf(a, c).count { later.get(it, "") != null })
            assertEquals(1, folder.list()!!.size)
        } finally {
            folder.deleteRecursively()
        }
    }

    /** Listeners hear states in their order, none twice, and none after they are closed. */
    @Test
    fun statesAreHeardInOrder() {
        val board = StateBoard(DeviceState())
        val heard = ArrayList<Int>()
        val listening = board.listen { heard += it.step }
        listOf(1, 1, 2).forEach { board.change { copy(step = it) } }
        listening.close()
        board.change { copy(step = 3) }
        assertEquals(listOf(0, 1, 2), heard)
        assertTrue(board.state.step == 3)
    }

    /** Prefixes above the experts of a version go with it; those of the backbone alone stay. */
    @Test
    fun prefixesOfOlderVersionsGo() {
        val folder = Files.createTempDirectory("prefixes").toFile()
        try {
            val (cache, key) = DiskPrefixes(folder, limit = 8192) to ByteArray(32)
            cache.put(key, byteArrayOf(1), "")
            cache.put(key, byteArrayOf(2), "aa")
            cache.keepGenerations(setOf("bb"))
            assertContentEquals(byteArrayOf(1), cache.get(key, ""))
            assertNull(cache.get(key, "aa"))
            cache.put(key, byteArrayOf(3), "bb") // there is room for two
            cache.keepGenerations(setOf("bb"))
            assertContentEquals(byteArrayOf(3), cache.get(key, "bb"))
            assertEquals(2, folder.list()!!.size)
        } finally {
            folder.deleteRecursively()
        }
    }
}
