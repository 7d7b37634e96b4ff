package org.edgeexperts.core

import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.Stand
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals

/** What a call takes of where its texts stand; two rows of four places, room for four texts. */
class PackedTest {
    private val room = Capacity(rows = 2, sequence = 4, batch = 4)

    // Texts of 1, 3, 0 and 2 tokens: the longest in row 0, the shortest behind it, the other one in row 1.
    private val packed = Packed.next(listOf(1, 3, 0, 2), room)

    /** The longest stands first; the next fits into the second row only; the last behind the first. */
    @Test
    fun textsStandWhereTheContractSays() {
        assertEquals(listOf(Stand(0, 3, 1), Stand(0, 0, 3), Stand(0, 4, 0), Stand(1, 0, 2)), packed.stands)
        assertEquals(4 to 6, packed.size to packed.tokens)
    }

    /** Positions begin anew with each text, and a place looks at those of its own text only. */
    @Test
    fun aPlaceLooksAtItsOwnTextOnly() {
        val frame = packed.frame()
        assertContentEquals(longArrayOf(0, 1, 2, 0, 0, 1, 0, 0), (frame.getValue("positions") as TensorValue.Longs).values)
        val attend = frame.getValue("attend") as TensorValue.Floats
        assertEquals(listOf(2L, 4L, 4L), attend.shape.toList())
        val rows = attend.values.toList().chunked(4).map { row -> row.joinToString("") { "${it.toInt()}" } }
        assertEquals(listOf("1110", "1110", "1110", "0001", "1100", "1100", "0000", "0000"), rows)
    }

    /** Ids and mask at the places of tokens, zeros elsewhere; a text longer than a row is cut. */
    @Test
    fun idsStandAtTheirPlaces() {
        val ids = listOf(longArrayOf(9), longArrayOf(5, 6, 7), longArrayOf(), longArrayOf(3, 4))
        assertContentEquals(longArrayOf(5, 6, 7, 9, 3, 4, 0, 0), packed.spread(ids).values)
        assertContentEquals(floatArrayOf(1f, 1f, 1f, 1f, 1f, 1f, 0f, 0f), packed.mask().values)
        val long = Packed.next(listOf(6, 1), room)
        assertContentEquals(longArrayOf(1, 2, 3, 4, 8, 0, 0, 0), long.spread(listOf(longArrayOf(1, 2, 3, 4, 5, 6), longArrayOf(8))).values)
    }

    /** A text is the mean of its tokens, in the row of its turn; one without tokens, and one that is not there, is nothing. */
    @Test
    fun aTextIsReadAsTheMeanOfItsTokens() {
        val third = 1f / 3
        val expected = listOf(
            listOf(0f, 0f, 0f, 1f, 0f, 0f, 0f, 0f),
            listOf(third, third, third, 0f, 0f, 0f, 0f, 0f),
            List(8) { 0f },
            listOf(0f, 0f, 0f, 0f, 0.5f, 0.5f, 0f, 0f),
        )
        assertEquals(expected, packed.means().values.toList().chunked(8))
        assertEquals(List(24) { 0f }, Packed.next(listOf(4), room).means().values.toList().drop(8))
    }

    /** 10,000 texts of one token go four at a time; no room is too small for one text. */
    @Test
    fun textsOfOneTokenFillTheBatch() {
        val calls = generateSequence(List(10_000) { 1 }) { rest -> rest.drop(Packed.next(rest, room).size).takeIf { it.isNotEmpty() } }
        assertEquals(2_500, calls.count())
        val least = Packed.next(listOf(7, 7), Capacity(1, 1, 2))
        assertEquals(1 to 1, least.size to least.tokens)
    }

    /** A trunk has each text alone, at the beginning of a row. */
    @Test
    fun aTrunkHasATextInARow() {
        val alone = Packed.inOwnRows(listOf(1, 2), room)
        assertContentEquals(longArrayOf(7, 0, 0, 0, 8, 9, 0, 0), alone.spread(listOf(longArrayOf(7), longArrayOf(8, 9))).values)
    }
}
