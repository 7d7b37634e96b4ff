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
        val cases = askPython("masked_terms.py").items
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

    /** Infinity, a head without counts, class sums of another shape, of NaN, of less than nothing. */
    @Test
    fun whatIsNoUpdateIsRefused() {
        val terms = Terms(MaskTerms.parseFrom(unhex(askPython("masked_terms.py").items[0]["terms"])))
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
}
