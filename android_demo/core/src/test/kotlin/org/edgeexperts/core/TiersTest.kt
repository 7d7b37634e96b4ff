package org.edgeexperts.core

import org.edgeexperts.wire.Cost
import org.edgeexperts.wire.Tier
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class TiersTest {
    private fun tier(trained: Long, frozen: Long, memoryMib: Double, stepMs: Double, seqLen: Long = 64) = Tier(
        "train_m${trained}_f${frozen}", trained, frozen, seqLen, 16, Cost(memoryMib, stepMs, 0.0, 0, 0, 0.0),
        Cost(0.0, 0.0, 0.0, 0, 0, 0.0), emptyMap(), "none", 1, "", "", emptyMap(),
    )

    private val large = tier(4, 4, memoryMib = 400.0, stepMs = 100.0)
    private val middle = tier(2, 4, memoryMib = 300.0, stepMs = 70.0)
    private val small = tier(1, 1, memoryMib = 200.0, stepMs = 50.0)
    private val all = listOf(large, middle, small)

    /** Most experts held first; no more than was offered; a plan that needs more than that is refused. */
    @Test
    fun tiersThatFitComeBestFirst() {
        assertEquals(listOf(large, middle, small), fitting(listOf(small, large, middle), large, 1))
        assertEquals(listOf(large, middle), fitting(all, large, 2))
        assertEquals(listOf(middle, small), fitting(all, middle, 1))
        assertFailsWith<PlanException> { fitting(all, middle, 3) }
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
}
