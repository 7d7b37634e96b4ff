package org.edgeexperts.core

import kotlin.test.Test
import kotlin.test.assertEquals

class GateTest {
    private val good = Conditions(
        idle = true, charging = true, batteryPercent = 80, unmetered = true, heat = Heat.NONE, freeBytes = 1L shl 33,
    )

    private fun against(now: Conditions, asked: Constraints = Constraints(), ran: Double = 0.0) =
        hindrances(now, asked, ran).toList()

    /** Each condition alone stops training, at its limit and not before. */
    @Test
    fun everyConditionCounts() {
        assertEquals(emptyList(), against(good))
        assertEquals(listOf(Hindrance.IN_USE), against(good.copy(idle = false)))
        assertEquals(listOf(Hindrance.METERED), against(good.copy(unmetered = false)))
        assertEquals(emptyList(), against(good.copy(charging = false, batteryPercent = 30)))
        assertEquals(listOf(Hindrance.LOW_BATTERY), against(good.copy(charging = false, batteryPercent = 29)))
        assertEquals(emptyList(), against(good.copy(batteryPercent = 5)))
        assertEquals(emptyList(), against(good.copy(heat = Heat.LIGHT)))
        assertEquals(listOf(Hindrance.HOT), against(good.copy(heat = Heat.MODERATE)))
        assertEquals(emptyList(), against(good.copy(freeBytes = 256L shl 20)))
        assertEquals(listOf(Hindrance.STORAGE_LOW), against(good.copy(freeBytes = (256L shl 20) - 1)))
        assertEquals(emptyList(), against(good, Constraints(runSeconds = 60.0), 59.9))
        assertEquals(listOf(Hindrance.TIME_IS_UP), against(good, Constraints(runSeconds = 60.0), 60.0))
    }

    /** What the user does not ask for does not count; over 100 per cent means: on a charger only. */
    @Test
    fun constraintsAreTheUsers() {
        val asked = Constraints(needsIdle = false, needsUnmetered = false, batteryPercent = 101, heatBelow = Heat.SEVERE)
        assertEquals(emptyList(), against(good.copy(idle = false, unmetered = false, heat = Heat.MODERATE), asked))
        assertEquals(listOf(Hindrance.LOW_BATTERY), against(good.copy(charging = false, batteryPercent = 100), asked))
    }

    /** All that is wrong is told at once. */
    @Test
    fun everyHindranceIsNamed() {
        val bad = Conditions(
            idle = false, charging = false, batteryPercent = 1, unmetered = false, heat = Heat.SEVERE, freeBytes = 0,
        )
        assertEquals(Hindrance.values().toList(), against(bad, Constraints(runSeconds = 1.0), 2.0))
    }

    /** During training the conditions are read once a second at most, and the run's time counts from its start. */
    @Test
    fun conditionsAreReadOnceASecond() {
        var now = 100.0
        var reads = 0
        val gate = Gate(Constraints(runSeconds = 3.0), { now }) { good.also { reads++ } }
        val readings = listOf(100.0, 100.5, 100.9, 101.0, 102.5, 103.2, 103.5).map {
            now = it
            gate.check() to reads
        }
        assertEquals(listOf(1, 1, 1, 2, 3, 3, 4), readings.map { it.second })
        assertEquals(setOf(Hindrance.TIME_IS_UP), readings.last().first)
        assertEquals(emptySet(), readings[5].first)
    }

    /** Who is told of a change reads at once, also of one that comes while it reads. */
    @Test
    fun aChangeIsReadAtOnce() {
        var reads = 0
        lateinit var gate: Gate
        gate = Gate(Constraints(), { 0.0 }) {
            if (++reads == 2) gate.changed()
            good
        }
        val counts = listOf(false, false, true, false, false).map { changed ->
            if (changed) gate.changed()
            gate.check()
            reads
        }
        assertEquals(listOf(1, 1, 2, 3, 3), counts)
    }
}
