package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.PackageFolder
import org.junit.Rule
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals

class InferenceTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private fun method(sequence: Int, rows: Int, batch: Int) =
        InferenceMethod("s$sequence r$rows b$batch", 1, Capacity(rows, sequence, batch))

    private val methods = listOf(method(64, 4, 32), method(64, 1, 1), method(32, 1, 4), method(32, 1, 1), method(16, 1, 1))

    /** The fewest places that hold it, then the smallest batch; the longest for what is longer than all. */
    @Test
    fun aTextTakesTheShortestMethodThatHoldsIt() {
        val chosen = listOf(0, 1, 16, 17, 32, 33, 64, 99).map { forOne(methods, it).name }
        val (short, middle, long) = listOf("s16 r1 b1", "s32 r1 b1", "s64 r1 b1")
        assertEquals(listOf(short, short, short, middle, middle, long, long, long), chosen)
        assertEquals("s64 r4 b32", forMany(methods).name)
    }

    /** Calls of the toy's methods, and what was unloaded. */
    private class Recorder(private val program: Executor) : Executor by program {
        val calls = ArrayList<String>()
        val unloaded = ArrayList<String>()

        override fun execute(method: String, inputs: Tensors): Tensors {
            calls += method
            return program.execute(method, inputs)
        }

        override fun unload(method: String) {
            unloaded += method
        }
    }

    private fun predictor(short: () -> Boolean): Pair<Recorder, Predictor> {
        val toy: PackageFolder = writeToy(File(temporary.root, "package"))
        val recorder = Recorder(NamedProgram(ToyProgram(toy), toy.manifest))
        return recorder to Predictor(recorder, toy.manifest, Tokenizer.read(toy.path("tokenizer.json")), Bank.zeros(TOY_SHAPE), short)
    }

    /** Five texts in three calls of two; each is read as when it is alone, an empty one and one of five tokens too. */
    @Test
    fun textsOfACallAreReadAsAlone() {
        val (recorder, predictor) = predictor { false }
        val texts = listOf("wake me", "", "play song", "me me me me play", "song")
        val together = predictor.readAll(texts.asSequence()).map { it.feature.toList() }.toList()
        assertEquals(List(3) { "predict_s4_r2_b2" }, recorder.calls)
        // Means of wake 2, me 3, play 4, song 5; the fifth token of a text is cut.
        assertEquals(listOf(2.5f, 0f, 4.5f, 3f, 5f), together.map { it[0] })
        assertEquals(together, texts.map { predictor.read(it).feature.toList() })
        assertEquals("predict_s4_r1_b1", recorder.calls.last())
        assertContentEquals(floatArrayOf(0.75f, 0.25f), predictor.read("me").probabilities)
    }

    /** While memory is short one method is kept; else all that were called. */
    @Test
    fun oneMethodIsKeptWhileMemoryIsShort() {
        var short = false
        val (recorder, predictor) = predictor { short }
        predictor.read("me")
        predictor.readAll(sequenceOf("me")).count()
        assertEquals(emptyList(), recorder.unloaded)
        predictor.release()
        assertEquals(listOf("predict_s4_r1_b1", "predict_s4_r2_b2"), recorder.unloaded)
        recorder.unloaded.clear()
        short = true
        predictor.read("me")
        predictor.readAll(sequenceOf("me")).count()
        assertEquals(listOf("predict_s4_r1_b1"), recorder.unloaded)
    }
}
