package org.edgeexperts.core

import org.edgeexperts.wire.Cost
import org.edgeexperts.wire.Tier
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertNull

class PaceTest {
    private val none = Cost(0.0, 0.0, 0.0, 0, 0, 0.0)

    private fun tier(layers: Long, stepMs: Double, trunkMs: Double = 0.0, slots: Long = 4) = Tier(
        "train_l${layers}_m$slots", slots, 8 - slots, 32, 4, 16, layers, none.copy(stepMs = stepMs, trunkMs = trunkMs), none,
        emptyMap(), "none", 1, "", emptyList(), emptyMap(),
    )

    private val whole = tier(6, 80.0)
    private val upper = tier(2, 20.0, trunkMs = 10.0)
    private val tiers = listOf(whole, upper)

    /** Where nothing was measured the prediction is told, shallow depths first. */
    @Test
    fun aFirstHelloTellsPredictions() {
        assertEquals(listOf(2 to Pace(20.0, 10.0), 6 to Pace(80.0)), reaches(tiers, whole, emptyMap()).toList())
    }

    /** A device that takes twice as long as predicted at one depth does so at the other; what was measured there counts more. */
    @Test
    fun whatWasMeasuredScalesWhatWasNot() {
        val slow = mapOf(whole.method to Pace(160.0))
        assertEquals(mapOf(2 to Pace(40.0, 20.0), 6 to Pace(160.0)), reaches(tiers, whole, slow))
        val both = slow + (upper.method to Pace(30.0, 40.0))
        assertEquals(mapOf(2 to Pace(30.0, 40.0), 6 to Pace(160.0)), reaches(tiers, whole, both))
        val trunks = mapOf(upper.method to Pace(30.0, 40.0)) // steps 1.5 times, the trunk 4 times what was predicted
        assertEquals(Pace(60.0, 20.0), reaches(listOf(tier(4, 40.0, trunkMs = 5.0), upper), upper, trunks)[4])
    }

    /** A step that is predicted to take 0.0 ms is told as export measured it, and scales others as such. */
    @Test
    fun aStepTooQuickForAPredictionIsToldAsMeasured() {
        val quick = listOf(6L to 0.8, 2L to 0.4).map { (layers, ms) -> tier(layers, 0.0).copy(measured = none.copy(stepMs = ms)) }
        assertEquals(mapOf(2 to Pace(0.4), 6 to Pace(0.8)), reaches(quick, quick[0], emptyMap()))
        val slow = mapOf(quick[0].method to Pace(2.0))
        assertEquals(mapOf(2 to Pace(1.0), 6 to Pace(2.0)), reaches(quick, quick[0], slow))
    }

    /** A depth is told of only where a tier has all the slots that are offered. */
    @Test
    fun aDepthNeedsTheSlotsThatAreOffered() {
        assertEquals(setOf(6), reaches(listOf(whole, tier(2, 20.0, slots = 2)), whole, emptyMap()).keys)
    }

    /** The median step without its trunk; the trunk's time for the texts of a mean step. */
    @Test
    fun stepsAreCountedWithoutTheirTrunk() {
        val here = Stretch()
        assertNull(here.pace(1.0))
        listOf(5.0 to 12, 9.0 to 16, 6.0 to 8).forEach { (ms, texts) -> here.add(ms, texts) }
        assertEquals(Pace(6.0, 18.0), here.pace(1.5))
        val times = TrunkTimes()
        listOf(50.0, 6.0, 4.0).forEach { times.add("trunk_l2_s16_r8", it, 4) } // the first call loads the method
        times.add("trunk_l2_s32_r8", 90.0, 8)
        assertEquals(150.0 to 1.25, times.ms to times.textMs)
    }
}
