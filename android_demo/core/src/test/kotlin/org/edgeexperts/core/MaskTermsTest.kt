package org.edgeexperts.core

import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.MaskTerms
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.secure.Terms
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

/** What a device says of blocks and class sums is what Python says, to the bit; also of updates that are too long. */
class MaskTermsTest {
    private val shape = BankShape(listOf(1, 4), 5, 3, 2, 24, 3)

    @Test
    fun integersArePythons() {
        assertEquals(12, cases.size)
        for (case in cases) {
            val terms = Terms(MaskTerms.parseFrom(unhex(case["terms"])))
            for (told in case["blocks"].items) {
                val block = ExpertId((told["layer"] as Long).toInt(), (told["index"] as Long).toInt())
                val examples = (told["examples"] as Long).toInt()
                val said = terms.integers(block, unhexFloats(told["change"]), examples, unhexFloats(told["counts"]))
                assertEquals(told["integers"], hex(encodeIntegers(said.integers)), "$block")
                assertContentEquals(unhexFloats(told["left"]), said.left, "$block")
            }
            val sums = ClassSums(unhexFloats(case["class_counts"]), unhexFloats(case["class_sums"]))
            assertEquals(case["class_integers"], hex(encodeIntegers(terms.ofClasses(7)!!.integers(sums, shape))))
        }
    }

    /** With noise the whole update is cut; what rounding left knows nothing of the noise, and is Python's. */
    @Test
    fun whatIsLeftBesideNoiseIsPythons() {
        fun byBlock(tree: Any?) = tree.items.associate {
            ExpertId((it.items[0] as Long).toInt(), (it.items[1] as Long).toInt()) to unhexFloats(it.items[2])
        }
        for (case in cases.map { it["noised"] }) {
            val terms = Terms(MaskTerms.parseFrom(unhex(case["terms"])))
            val said = terms.noised(byBlock(case["changes"]), shape, ByteArray(32))
            for ((block, rest) in byBlock(case["left"])) assertContentEquals(rest, said.left[block], "$block")
            assertEquals(case["values"], said.values.getValue(2).size.toLong())
            assertEquals(listOf(1, 1, 1), said.values.getValue(2).takeLast(3)) // weights of the head's rows
        }
        val (block, broken) = ExpertId(1, 0) to FloatArray(shape.expertSize) { Float.NaN }
        assertFailsWith<SecureException> {
            Terms(MaskTerms.parseFrom(unhex(cases[0]["noised"]["terms"]))).noised(mapOf(block to broken), shape, ByteArray(32))
        }
    }

    /** Infinity, a head without counts, class sums of another shape, of NaN, of less than nothing. */
    @Test
    fun whatIsNoUpdateIsRefused() {
        val terms = Terms(MaskTerms.parseFrom(unhex(cases[0]["terms"])))
        val expert = ExpertId(1, 0)
        fun refused(what: () -> Unit) = assertFailsWith<SecureException> { what() }
        refused { terms.integers(expert, floatArrayOf(Float.POSITIVE_INFINITY), 1, FloatArray(0)) }
        refused { terms.integers(expert, floatArrayOf(Float.NaN), 1, FloatArray(0)) }
        refused { terms.integers(HEAD, FloatArray(75), 1, FloatArray(0)) }
        val classes = terms.ofClasses(7)!!
        refused { classes.integers(ClassSums(FloatArray(2), FloatArray(48)), shape) }
        refused { classes.integers(ClassSums(floatArrayOf(1f, -1f, 1f), FloatArray(72)), shape) }
        refused { classes.integers(ClassSums(FloatArray(3), FloatArray(72) { Float.NaN }), shape) }
        assertEquals(List(75) { 0 }, classes.integers(null, shape).toList())
    }

    private companion object {
        val cases by lazy { askPython("masked_terms.py").items }
    }
}
