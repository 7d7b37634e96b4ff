package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.Cost
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.Tier
import org.edgeexperts.wire.sharedExpert
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNull

/** A tier of all three layers with two trained slots, and one of the top layer with one; three experts, one shared. */
class CarryTest {
    private val shape = BankShape(listOf(1, 4, 6), 3, 1, 1, 2, 2)

    /** Every value of block n of the bank is n, so that one can see which block it is. */
    private val bank = Bank.zeros(shape).let { zeros ->
        zeros.replace(shape.ids().withIndex().associate { (place, block) -> block to FloatArray(shape.size(block)) { place.toFloat() } })
    }
    private val free = Cost(0.0, 0.0, 0.0, 0, 0, 0.0)

    private fun tier(trained: Long, layers: Long) = Tier(
        "l$layers", trained, 3 - trained, 8, 2, 3, layers, free, free, emptyMap(), "none", 1, "", emptyList(), emptyMap(),
    )

    private val whole = Slots(tier(2, 3), listOf(intArrayOf(0, 1, 2), intArrayOf(0, 1, 2), intArrayOf(2, 0, 1)), emptyList(), 1f)
    private val upper = Slots(tier(1, 1), listOf(intArrayOf(2, 0, 1)), emptyList(), 1f)
    private val plan = listOf(ExpertId(6, 2), sharedExpert(6), HEAD)

    /** Adds 100 to every value: what a step may change. */
    private fun stepped(values: Floats): Floats =
        values.mapValues { (_, value) -> TensorValue.Floats(value.shape, FloatArray(value.values.size) { value.values[it] + 100 }) }

    /** The first value of each expert of a tensor [k, m, P], or of each layer of one [k, Ps]. */
    private fun firsts(values: Floats, name: String): List<Float> = values.getValue(name).let { value ->
        val count = value.shape.dropLast(1).fold(1L, Long::times).toInt()
        List(count) { value.values[it * (value.values.size / count)] }
    }

    /** Blocks 0 to 3 are layer 1's, shared last, 4 to 7 layer 4's, 8 to 11 layer 6's: what was learned is the top layer's part. */
    @Test
    fun whatWasLearnedMovesBetweenDepths() {
        val need = needOf(plan, shape)
        assertEquals(Need(1, 1), need)
        val before = stepped(startValues(bank, whole))
        assertEquals(listOf(100f, 101f, 104f, 105f, 110f, 108f), firsts(before, Ports.TRAINED))
        val down = carried(learned(before, need), bank, upper)
        assertEquals(listOf(110f), firsts(down, Ports.TRAINED))
        assertEquals(listOf(8f, 9f), firsts(down, Ports.FROZEN))
        assertEquals(listOf(111f), firsts(down, Ports.SHARED))
        assertEquals(listOf(listOf(100f), listOf(100f)), listOf("trained_m1", "shared_m2").map { firsts(down, it) })
        assertContentEquals(before.getValue(Ports.HEAD).values, down.getValue(Ports.HEAD).values)

        val again = carried(learned(stepped(down), need), bank, whole)
        assertEquals(listOf(0f, 1f, 4f, 5f, 210f, 8f), firsts(again, Ports.TRAINED)) // below and beside: the bank's
        assertEquals(listOf(3f, 7f, 211f), firsts(again, Ports.SHARED))
        assertEquals(listOf(0f, 0f, 0f, 0f, 200f, 0f), firsts(again, "trained_m1"))
        for ((slots, values) in listOf(upper to stepped(down), whole to again)) {
            val blocks = trainedBlocks(plan, bank, slots, values)
            assertEquals(listOf(210f, 211f), listOf(plan[0], plan[1]).map { blocks.getValue(it)[0] })
        }
    }

    /** Below the top layer a trunk takes all experts and shared ones of the two others, below three layers nothing. */
    @Test
    fun aTrunkRunsWhatStandsBelow() {
        val lower = lowerInputs(bank, 1)
        assertEquals(listOf(0f, 1f, 2f, 4f, 5f, 6f), firsts(lower, Ports.LOWER_EXPERTS))
        assertEquals(listOf(3f, 7f), firsts(lower, Ports.LOWER_SHARED))
        assertEquals(listOf(2L, 3L, shape.expertSize.toLong()), lower.getValue(Ports.LOWER_EXPERTS).shape.toList())
        assertEquals(emptyMap(), lowerInputs(bank, 3))
        assertNull(lowerInputs(Bank.zeros(shape.copy(sharedRank = 0)), 2)[Ports.LOWER_SHARED])
    }

    /** A plan needs the layers down to its lowest block, whatever kind it is; the head stands on the top one. */
    @Test
    fun aPlanNeedsItsLowestLayer() {
        assertEquals(Need(2, 2), needOf(listOf(ExpertId(4, 0), ExpertId(6, 1), ExpertId(6, 2)), shape))
        assertEquals(Need(0, 3), needOf(listOf(HEAD, sharedExpert(1)), shape))
        assertEquals(Need(0, 1), needOf(listOf(HEAD), shape))
    }
}
