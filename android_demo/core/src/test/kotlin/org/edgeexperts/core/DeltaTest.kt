package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.MEAN
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.hex
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class DeltaTest {
    private fun block(tree: Any?) = ExpertId((tree.items[0] as Long).toInt(), (tree.items[1] as Long).toInt())

    private fun byBlock(tree: Any?) = tree.items.associate { block(it) to unhexFloats(it.items[2]) }

    private fun number(tree: Any?) = (tree as Number).toDouble()

    private fun outcome(tree: Any?) = Outcome(
        blocks = byBlock(tree["blocks"]),
        examples = (tree["examples"] as Long).toInt(),
        labelCounts = unhexFloats(tree["label_counts"]),
        losses = tree["losses"].items.map(::number),
        stepMs = number(tree["step_ms"]),
        routed = tree["routed"].items.map(::unhexFloats),
        seen = tree["seen"].items.map(::unhexFloats),
    )

    private class Device(case: Any?) {
        val manifest = Manifest.fromJson(unhex(case["manifest"]))
        val architecture = manifest.architecture
        val bank = Bank.fromBytes(unhex(case["bank"]), architecture.bankShape(), architecture.digest())
        val codec = (case["codec"] as Long).toInt()
        val rounds = case["rounds"].items

        fun origin(number: Int) =
            Origin("device-1", ByteArray(32) { number.toByte() }, number + 1L, (1L shl 40) + number, codec)
    }

    /** Both codecs, both gates, three rounds each, error feedback from round to round: the same bytes. */
    @Test
    fun deltasHavePythonsBytes() {
        assertEquals(24, cases.size)
        for (device in cases.map(::Device)) {
            var residuals = emptyMap<ExpertId, FloatArray>()
            device.rounds.forEachIndexed { number, round ->
                val slots = place(round["train"].items.map(::block), device.architecture, device.manifest.tiers[0])
                val topk = device.architecture.gate == "topk"
                val built =
                    buildDelta(device.origin(number), device.bank, slots, outcome(round["outcome"]), residuals, topk)
                assertEquals(round["body"], hex(built.body))
                val left = byBlock(round["residuals"])
                assertEquals(left.keys, built.residuals.keys)
                left.forEach { (block, values) -> assertContentEquals(values, built.residuals.getValue(block)) }
                residuals = residuals + built.residuals
                MessageKind.DELTA.decode(built.body)
            }
        }
    }

    /** The same experts sit in the same slots, with the same masks and scales. */
    @Test
    fun expertsSitWherePythonPutsThem() {
        for (device in cases.map(::Device)) {
            for (round in device.rounds) {
                val slots = place(round["train"].items.map(::block), device.architecture, device.manifest.tiers[0])
                assertEquals(round["held"], slots.held.map { row -> row.map(Int::toLong) })
                assertEquals(
                    round["update_mask"].items.map { row -> row.items.map(::number) },
                    slots.updateMask.map { row -> row.map(Float::toDouble) },
                )
                assertEquals(number(round["gate_scale"]), slots.gateScale.toDouble())
            }
        }
    }

    /** What a program cannot train is refused before it runs. */
    @Test
    fun aPlanThatDoesNotFitIsRefused() {
        val device = Device(cases[0])
        val tier = device.manifest.tiers[0]
        fun refusal(vararg train: ExpertId) =
            assertFailsWith<PlanException> { place(train.toList(), device.architecture, tier) }.message!!
        assertTrue("trains 3 experts at a layer, the program train has 2" in refusal(*Array(3) { ExpertId(1, it) }))
        assertTrue("trains 2.0, which this package cannot train" in refusal(ExpertId(2, 0)))
        assertTrue("trains mean" in refusal(MEAN))
        assertTrue("trains the top 2 layers, the program train has 1" in assertFailsWith<PlanException> {
            place(listOf(ExpertId(1, 0)), device.architecture, tier.copy(layers = 1))
        }.message!!)
    }

    /** A diverged training gives no delta. */
    @Test
    fun aValueThatIsNotFiniteIsRefused() {
        val device = Device(cases[0])
        val slots = place(listOf(ExpertId(1, 0)), device.architecture, device.manifest.tiers[0])
        val broken = device.bank.block(ExpertId(1, 0)).also { it[0] = Float.NaN }
        val outcome = Outcome(mapOf(ExpertId(1, 0) to broken), 1, FloatArray(3), listOf(1.0), 1.0, emptyList(), emptyList())
        assertFailsWith<WireException> {
            buildDelta(device.origin(0), device.bank, slots, outcome, emptyMap(), topk = false)
        }
    }

    /** Residuals survive their record; what does not fit the bank, and what is zero, is left out. */
    @Test
    fun residualsSurviveTheirRecord() {
        val shape = Device(cases[0]).architecture.bankShape()
        val values = FloatArray(shape.expertSize) { it / 7f }
        val packed = packResiduals(
            mapOf(ExpertId(1, 0) to values, ExpertId(1, 1) to FloatArray(shape.expertSize), HEAD to FloatArray(2) { 1f }),
        )
        val residuals = unpackResiduals(Record.of(emptyMap(), packed).tensors(), shape)
        assertEquals(setOf(ExpertId(1, 0)), residuals.keys)
        assertContentEquals(values, residuals.getValue(ExpertId(1, 0)))
    }

    private companion object {
        val cases by lazy { askPython("deltas.py").items }
    }
}
