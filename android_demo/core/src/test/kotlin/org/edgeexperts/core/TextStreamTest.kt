package org.edgeexperts.core

import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.epochOrder
import org.junit.Rule
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals

/** A run's texts, cut into steps; the toy's tokenizer adds nothing: one token a word. */
class TextStreamTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private class Texts(private vararg val texts: String) : ExampleSource {
        override val labels = IntArray(texts.size) { it % 2 }
        override val digest = ByteArray(0)

        override fun text(row: Int) = texts[row]
    }

    private fun stream(source: ExampleSource, capacity: Capacity): TextStream {
        val tokenizer = Tokenizer.read(writeToy(File(temporary.root, "package")).path("tokenizer.json"))
        return TextStream(source, tokenizer, EntryOrder(SEED, source.size), 2, capacity, null)
    }

    private fun ids(step: StepTexts) = (step.inputs.getValue("ids") as TensorValue.Longs).values

    /** A text longer than S is cut and stands alone, an empty one takes no place and no label, and neither ends a step. */
    @Test
    fun longAndEmptyTextsAreTaken() {
        val source = Texts("play play play play play play", "", "wake")
        val order = epochOrder(SEED, 0, 3)
        val step = stream(source, Capacity(2, 4, 3)).step(0)
        assertEquals(3 to 5, step.texts to step.tokens)
        assertContentEquals(longArrayOf(4, 4, 4, 4, 2, 0, 0, 0), ids(step))
        val labels = step.inputs.floats("labels").toList().chunked(2)
        val expected = order.map { row -> if (row == 1) listOf(0f, 0f) else listOf(1f, 0f) }
        assertEquals(expected, labels)
    }

    /** Every entry is taken once, in the order, and a step begins behind the last; a new stream goes on from the number alone. */
    @Test
    fun stepsFollowTheOrderWithoutAGap() {
        val source = Texts("wake me", "play", "song song song", "me", "play song", "wake")
        val words = mapOf(2L to "wake", 3L to "me", 4L to "play", 5L to "song")
        val capacity = Capacity(1, 4, 3)
        val whole = stream(source, capacity)
        var taken = 0L
        repeat(20) {
            val step = whole.step(taken)
            assertContentEquals(ids(step), ids(stream(source, capacity).step(taken)))
            val entries = (taken until taken + step.texts).map { source.text(epochOrder(SEED, it / 6, 6)[(it % 6).toInt()]) }
            assertEquals(entries.flatMap { it.split(" ") }.sorted(), ids(step).filter { it != 0L }.map(words::getValue).sorted())
            taken += step.texts
        }
    }

    private companion object {
        const val SEED = 4L
    }
}
