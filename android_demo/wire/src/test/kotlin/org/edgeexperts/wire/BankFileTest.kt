package org.edgeexperts.wire

import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class BankFileTest {
    // r = d = rs = 1, M = 2, C = 2: an expert has 5 values, a shared one 4, the head 4, the mean 1.
    private val shape = BankShape(listOf(0, 3), 2, 1, 1, 1, 2)

    private fun counting(): Bank {
        var next = 0f
        return Bank.fromBlocks(shape, shape.ids().associateWith { FloatArray(shape.size(it)) { next++ } })
    }

    /** Written and read again, every block has its values, and so the version its digest. */
    @Test
    fun aBankSurvivesItsFile() {
        val bank = counting()
        val again = Bank.fromBytes(bank.toBytes(ByteArray(32)), shape, ByteArray(32))
        assertContentEquals(floatArrayOf(5f, 6f, 7f, 8f, 9f), again.block(ExpertId(0, 1)))
        assertContentEquals(floatArrayOf(24f, 25f, 26f, 27f), again.block(sharedExpert(3)))
        assertContentEquals(bank.digest(), again.digest())
    }

    /** A replaced block changes nothing else, and not the bank it came from. */
    @Test
    fun replacingABlockLeavesTheOthers() {
        val bank = counting()
        val changed = bank.replace(mapOf(MEAN to floatArrayOf(-1f)))
        assertContentEquals(floatArrayOf(32f), bank.block(MEAN))
        assertContentEquals(floatArrayOf(-1f), changed.block(MEAN))
        assertContentEquals(bank.block(HEAD), changed.block(HEAD))
        assertFailsWith<BankException> { bank.replace(mapOf(MEAN to floatArrayOf(1f, 2f))) }
        assertFailsWith<BankException> { bank.block(ExpertId(1, 0)) }
    }

    /** A bank lacks nothing. */
    @Test
    fun allBlocksMustBeThere() {
        val blocks = shape.ids().drop(1).associateWith { FloatArray(shape.size(it)) }
        val error = assertFailsWith<BankException> { Bank.fromBlocks(shape, blocks) }
        assertEquals("1 blocks of the bank are missing: 0.0", error.message)
    }
}
