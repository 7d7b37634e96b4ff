package org.edgeexperts.wire

import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull

class ChunksTest {
    private fun body(size: Int, fill: Int = 7) = ByteArray(size) { (it * fill).toByte() }

    private fun chunks(body: ByteArray, payload: Int = 100) =
        split(body, Kind.DELTA, payload).map { MessageKind.CHUNK.decode(it) }.toList()

    /** 250 bytes in pieces of 100 are three chunks; any order and a repetition give the body back once. */
    @Test
    fun piecesMayComeInAnyOrderAndTwice() {
        val whole = body(250)
        val (first, second, third) = chunks(whole)
        assertEquals(listOf(100, 100, 50), listOf(first, second, third).map { it.payload.size() })
        val assembler = Assembler()
        listOf(third, first, third).forEach { assertNull(assembler.add("a", it)) }
        assertContentEquals(whole, assembler.add("a", second))
        assertEquals(0, assembler.heldBytes)
    }

    /** Two senders with the same body do not complete each other's. */
    @Test
    fun sendersAreKeptApart() {
        val (first, second) = chunks(body(200))
        val assembler = Assembler()
        assertNull(assembler.add("a", first))
        assertNull(assembler.add("b", second))
        assembler.forget("b")
        assertNotNull(assembler.add("a", second))
    }

    /** A sender over its share loses its own oldest body; another sender's stays. */
    @Test
    fun roomIsMadeAtTheExpenseOfWhoTakesIt() {
        val assembler = Assembler(limit = 10_000, senderLimit = 4_000)
        val (mine, mineLast) = chunks(body(200, 3))
        assertNull(assembler.add("patient", mine))
        val greedy = (1..9).map { chunks(body(2_000, 2 * it + 1), 1_000) }
        greedy.forEach { assertNull(assembler.add("greedy", it[0])) }
        // Each unfinished body costs 1,024 + 1,000 + 128 bytes: one fits 4,000, two do not. Beside: 1,024 + 100 + 128.
        assertEquals(2_152L + 1_252L, assembler.heldBytes)
        assertNotNull(assembler.add("patient", mineLast))
        assertNull(assembler.add("greedy", greedy[0][1]))
        assertNotNull(assembler.add("greedy", greedy[0][0]))
    }

    /** The newest body is kept while its sender holds one only, whatever the limit. */
    @Test
    fun theOnlyBodyOfASenderIsNotDropped() {
        val assembler = Assembler(limit = 10)
        val (first, second) = chunks(body(200))
        assertNull(assembler.add("a", first))
        assertNotNull(assembler.add("a", second))
    }

    /** What a reader must refuse is not written. */
    @Test
    fun emptyAndTooLargeBodiesAreNotSent() {
        assertEquals(Code.MALFORMED, assertFailsWith<WireException> { split(ByteArray(0), Kind.BLOB) }.code)
        assertEquals(Code.TOO_LARGE, assertFailsWith<WireException> { split(body(65_537), Kind.BLOB, 1) }.code)
        val small = Assembler(bodyLimit = 199)
        assertEquals(Code.TOO_LARGE, assertFailsWith<WireException> { small.add("a", chunks(body(200))[0]) }.code)
    }
}
