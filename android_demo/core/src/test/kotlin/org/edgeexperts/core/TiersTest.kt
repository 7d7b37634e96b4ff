package org.edgeexperts.core

import org.edgeexperts.wire.Cost
import org.edgeexperts.wire.Tier
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class TiersTest {
    private fun tier(trained: Long, frozen: Long, memoryMib: Double, stepMs: Double, rows: Long = 4, layers: Long = 2) = Tier(
        "train_l${layers}_m${trained}_f${frozen}_r$rows", trained, frozen, 8, rows, 4, layers, Cost(memoryMib, stepMs, 0.0, 0, 0, 0.0),
        Cost(0.0, 0.0, 0.0, 0, 0, 0.0), emptyMap(), "none", 1, "", emptyList(), emptyMap(),
    )

    private val large = tier(4, 4, memoryMib = 400.0, stepMs = 100.0)
    private val middle = tier(2, 4, memoryMib = 300.0, stepMs = 70.0)
    private val small = tier(1, 1, memoryMib = 200.0, stepMs = 50.0)
    private val all = listOf(large, middle, small)

    /** Most experts held first; no more than was offered; a plan that needs more than that is refused. */
    @Test
    fun tiersThatFitComeBestFirst() {
        assertEquals(listOf(large, middle, small), fitting(listOf(small, large, middle), large, Need(1, 2)))
        assertEquals(listOf(large, middle), fitting(all, large, Need(2, 1)))
        assertEquals(listOf(middle, small), fitting(all, middle, Need(1, 1)))
        assertFailsWith<PlanException> { fitting(all, middle, Need(3, 1)) }
    }

    /** No more layers than the plan needs, where there is such a tier; a deeper one does, too; one that is not so deep does not. */
    @Test
    fun thePlansDepthComesFirst() {
        val (top, deep) = listOf(1L, 4L).map { tier(4, 4, memoryMib = 200.0, stepMs = 30.0, layers = it) }
        val tiers = listOf(deep, large, small, top)
        assertEquals(listOf(top, large, small, deep), fitting(tiers, deep, Need(1, 1)))
        assertEquals(listOf(large, small, deep), fitting(tiers, deep, Need(1, 2)))
        assertEquals(listOf(deep), fitting(tiers, deep, Need(4, 3)))
        val refusal = assertFailsWith<PlanException> { fitting(listOf(top, large), large, Need(1, 3)) }
        assertTrue("1 experts at a layer and the top 3 layers, this device has 4 slots and 2 layers" in refusal.message!!)
    }

    /** 64 MiB are left to others; a step up needs them twice; where nothing fits the smallest is taken. */
    @Test
    fun memoryDecides() {
        fun at(room: Double, now: Tier? = null) = choose(all, Signal(roomMib = room), now)
        assertEquals(listOf(large, middle, middle, small), listOf(464.0, 463.0, 364.0, 100.0).map { at(it) })
        assertEquals(listOf(middle, large), listOf(527.0, 528.0).map { at(it, middle) })
        assertEquals(middle, at(370.0, large))
        assertEquals(large, choose(all, Signal()))
    }

    /** From 80 degrees a cheaper step, below 70 a dearer one again, between them none dearer. */
    @Test
    fun heatDecides() {
        fun at(celsius: Double, now: Tier? = null) = choose(all, Signal(celsius = celsius), now)
        assertEquals(listOf(large, small), listOf(79.0, 80.0).map { at(it) })
        assertEquals(listOf(middle, small), listOf(at(85.0, large), at(85.0, middle)))
        assertEquals(listOf(middle, large), listOf(71.0, 70.0).map { at(it, middle) })
        assertEquals(small, at(95.0, small))
    }

    /** Of tiers that differ in rows only, none with more than the texts need; others stay, and are asked for no texts. */
    @Test
    fun textsDecideHowManyRows() {
        val (four, two, one) = listOf(4L, 2L, 1L).map { tier(4, 4, memoryMib = 400.0, stepMs = 100.0, rows = it) }
        val tiers = listOf(four, two, one, middle)
        // Four texts of 4 tokens fill two rows of 8; of 2 tokens one row; of 7 tokens four rows; of 8 in five steps none.
        assertEquals(listOf(two, one, middle), suiting(tiers) { List(40) { 4 } })
        assertEquals(listOf(one, middle), suiting(tiers) { List(40) { 2 } })
        assertEquals(tiers, suiting(tiers) { List(40) { 7 } })
        assertEquals(listOf(two, one), suiting(listOf(two, one)) { List(40) { 7 } })
        assertEquals(all, suiting(all) { error("asked") })
    }

    /** Of the tiers for a plan the one with most rows comes first. */
    @Test
    fun moreRowsComeFirst() {
        val (two, one) = listOf(2L, 1L).map { tier(4, 4, memoryMib = 400.0, stepMs = 100.0, rows = it) }
        assertEquals(listOf(two, one), fitting(listOf(one, two), two, Need(1, 1)))
    }
}
