package org.edgeexperts.desktop

import org.edgeexperts.core.ExampleSource
import org.edgeexperts.core.NamedProgram
import org.edgeexperts.core.Origin
import org.edgeexperts.core.Outcome
import org.edgeexperts.core.Predictor
import org.edgeexperts.core.Reading
import org.edgeexperts.core.Task
import org.edgeexperts.core.TensorValue
import org.edgeexperts.core.Tools
import org.edgeexperts.core.Tokenizer
import org.edgeexperts.core.Trainer
import org.edgeexperts.core.buildDelta
import org.edgeexperts.core.classSums
import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Codec
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.hex
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** The same package, texts and task in both languages, over one C library: the same bits after every step. */
class StepsTest {
    private class Texts(tree: Any?) : ExampleSource {
        private val texts = tree.items.map { it.items[0] as String }
        override val labels = tree.items.map { it.items[1].whole }.toIntArray()
        override val digest = ByteArray(0)

        override fun text(row: Int) = texts[row]
    }

    /** A package, opened, and what Python made of it. */
    private class PythonRun(name: String) : AutoCloseable {
        val told = askPython("steps.py", TestPackages.packageFolder(name).path, TestPackages.texts("cy").path)
        val folder = PackageFolder.open(TestPackages.packageFolder(name))
        val manifest = folder.manifest
        val program = NamedProgram(engine.load(folder.path("program.pte"), threads = 1), manifest)
        val tokenizer = Tokenizer.read(folder.path("tokenizer.json"))
        val source = Texts(told["examples"])
        val tools = Tools(program, manifest, tokenizer, source)
        val bank = manifest.architecture.let {
            Bank.fromBytes(unhex(told["bank"]), it.bankShape(), it.digest())
        }

        override fun close() = program.close()
    }

    private fun floats(value: TensorValue) = when (value) {
        is TensorValue.Floats -> value.values
        is TensorValue.Longs -> FloatArray(value.values.size) { value.values[it].toFloat() }
    }

    private fun task(tree: Any?): Task {
        val (experts, shared, head, weightDecay) = tree["rates"].items.map { it.number }
        return Task(
            train = tree["train"].items.map { ExpertId(it.items[0].whole, it.items[1].whole) },
            steps = tree["steps"].whole,
            learningRate = experts,
            sharedLearningRate = shared,
            headLearningRate = head,
            weightDecay = weightDecay,
            seed = (tree["seed"] as String).toULong().toLong(),
            decay = tree["decay"].items.let { it[0].number to it[1].number },
            use = tree["use"].items.associate { it.items[0].whole to unhexFloats(it.items[1]) },
            pressure = tree["pressure"].number,
        )
    }

    private fun blocks(tree: Any?) =
        tree.items.associate { ExpertId(it.items[0].whole, it.items[1].whole) to unhexFloats(it.items[2]) }

    /** Makes a task's steps, holding loss, values and moments of each against Python's. */
    private fun replay(run: PythonRun, tree: Any?, interrupt: Int = -1, bank: Bank = run.bank): Trainer {
        val task = task(tree)
        var trainer = Trainer(run.tools, bank, task, run.manifest.tiers[0])
        val switches = tree["switches"].items.associate { it.items[0].whole to it.items[1].whole }
        tree["seen"].items.forEachIndexed { step, seen ->
            switches[step]?.let { trainer.switch(run.manifest.tiers[it]) }
            if (step == interrupt) {
                val saved = trainer.checkpoint()
                trainer = Trainer(run.tools, bank, task, run.manifest.tiers[0]).also { it.restore(saved) }
            }
            assertEquals(seen["loss"].number, trainer.step(), "loss of step ${step + 1}")
            val inputs = trainer.stepInputs()
            val expected = seen["inputs"] as Map<*, *>
            assertEquals(expected.keys, inputs.keys)
            for ((name, values) in expected) {
                assertContentEquals(unhexFloats(values), floats(inputs.getValue(name as String)), "$name after step ${step + 1}")
            }
        }
        assertTrue(trainer.done)
        val (outcome, wanted) = trainer.outcome() to blocks(tree["blocks"])
        assertEquals(wanted.keys, outcome.blocks.keys)
        wanted.forEach { (block, values) -> assertContentEquals(values, outcome.blocks.getValue(block), "$block") }
        assertEquals(tree["examples"].whole, outcome.examples)
        assertContentEquals(unhexFloats(tree["label_counts"]), outcome.labelCounts)
        tree["routed"].items.forEachIndexed { row, values -> assertContentEquals(unhexFloats(values), outcome.routed[row]) }
        tree["seen_tokens"].items.forEachIndexed { row, values -> assertContentEquals(unhexFloats(values), outcome.seen[row]) }
        return trainer
    }

    /** 24 steps with shared expert, head, decay and free slots; and 24 in other experts that move from tier to tier. */
    @Test
    fun stepsWithSoftGatesAreEqual() = PythonRun("soft").use { run ->
        val (large, small) = run.told["tasks"].items
        assertEquals(4 to 3, run.manifest.tiers.size to small["switches"].items.size)
        val trainer = replay(run, large)
        replay(run, small)
        assertTrue(trainer.losses.takeLast(5).average() < trainer.losses.take(5).average(), "nothing was learned")
        assertEquals(run.told["trained"], hex(run.bank.replace(trainer.outcome().blocks).digest()))
    }

    /** Top-k gates with a balance target, two micro-batches, and a trunk: 24 steps, interrupted and resumed in the middle. */
    @Test
    fun stepsWithEveryOtherPartAreEqual() = PythonRun("all").use { run ->
        val tier = run.manifest.tiers[0]
        assertTrue(tier.microBatches == 2L && tier.trunkMethods.isNotEmpty() && run.manifest.architecture.gate == "topk")
        run.told["tasks"].items.forEach { replay(run, it, interrupt = 11) }
    }

    /**
     * A plan of the upper layer, above trained experts of the lower one: 24 steps in the tier of that layer, in the one of both
     * and in the first again, and the delta that is sent for it.
     */
    @Test
    fun stepsOfTheUpperLayerAreEqual() = PythonRun("depth").use { run ->
        assertEquals(listOf(2L to 0, 1L to 1), run.manifest.tiers.map { it.layers to it.trunkMethods.size })
        val (tree, bank) = run.told["upper"].items.single() to run.bank.replace(blocks(run.told["tasks"].items[0]["blocks"]))
        val trainer = replay(run, tree, bank = bank)
        val outcome = trainer.outcome().run { Outcome(blocks, examples, labelCounts, losses, 0.0, routed, seen) }
        val delta = buildDelta(Origin("cy", ByteArray(32), 1, 1, Codec.INT8_VALUE), bank, trainer.slots, outcome, emptyMap(), topk = false)
        assertEquals(tree["delta"], hex(delta.body))
        run.told["tasks"].items.forEach { replay(run, it) }
    }

    /** Class sums, the head that starts from them, and predictions with the trained bank, one by one and many in a call. */
    @Test
    fun sumsAndPredictionsAreEqual() = PythonRun("soft").use { run ->
        val sums = checkNotNull(classSums(run.program, run.manifest, run.tokenizer, run.source))
        assertContentEquals(unhexFloats(run.told["counts"]), sums.counts)
        assertContentEquals(unhexFloats(run.told["sums"]), sums.sums)
        val start = sums.classMeanHead(run.manifest.architecture.logitScale)
        start.forEach { (block, values) -> near(run.bank.block(block), values) }
        val trained = run.bank.replace(blocks(run.told["tasks"].items[0]["blocks"]))
        val predictor = Predictor(run.program, run.manifest, run.tokenizer, trained)
        val texts = (0 until run.source.size).map(run.source::text)
        equal(run.told["read"], run.told["read"].items.indices.map { predictor.read(texts[it]) })
        equal(run.told["together"], predictor.readAll(texts.asSequence()).toList())
    }

    private fun equal(expected: Any?, readings: List<Reading>) {
        assertEquals(expected.items.size, readings.size)
        expected.items.zip(readings) { wanted, reading ->
            assertContentEquals(unhexFloats(wanted.items[0]), reading.probabilities)
            assertContentEquals(unhexFloats(wanted.items[1]), reading.feature)
        }
    }

    /** Sums over a mean differ in the last bit with the order in which they are taken. */
    private fun near(expected: FloatArray, actual: FloatArray) {
        assertEquals(expected.size, actual.size)
        expected.indices.forEach { assertTrue(abs(expected[it] - actual[it]) <= 1e-6f, "${expected[it]} ${actual[it]}") }
    }
}
