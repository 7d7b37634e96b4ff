package org.edgeexperts.core

import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.Case
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Ports
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals

/** One step in two parts, each of one of the two rows of eight places. */
class MicroBatchesTest {
    private val manifest = Manifest.fromJson(Case.bytes("Manifest", "accept_micro_batches"))
    private val tier = manifest.tiers[0]
    private val room = capacityOf(tier)
    private val labels = manifest.architecture.labels.size

    /** Records calls; a part's loss is its number of calls so far, its usage the same everywhere. */
    private inner class Recorder : Executor {
        val calls = ArrayList<Tensors>()
        var applied: Tensors = emptyMap()

        override fun execute(method: String, inputs: Tensors): Tensors {
            val spec = manifest.methods.getValue(method)
            assertEquals(spec.inputs.map { it.name }.toSet(), inputs.keys)
            for (tensor in spec.inputs) assertEquals(tensor.shape, inputs.getValue(tensor.name).shape.toList(), tensor.name)
            if (method == tier.applyMethod) applied = inputs else calls += inputs
            return spec.outputs.associate { tensor ->
                val shape = tensor.shape.toLongArray()
                tensor.name to TensorValue.Floats(shape, FloatArray(shape.fold(1L, Long::times).toInt()) { calls.size.toFloat() })
            }
        }

        override fun unload(method: String) = Unit
    }

    private fun step(counts: List<Int>): Pair<Recorder, Tensors> {
        val packed = Packed.next(counts, room)
        val wanted = FloatArray(room.batch * labels).also { packed.each { slot, _ -> it[slot * labels] = 1f } }
        val texts = packed.frame() + mapOf(
            Ports.IDS to packed.spread(counts.map { LongArray(it) { 5 } }),
            Ports.MASK to packed.mask(), Ports.READOUT to packed.means(),
            Ports.LABELS to floatsOf(wanted, room.batch, labels),
        )
        val wantedByStep = listOf(tier.method, tier.applyMethod).flatMap { manifest.methods.getValue(it).inputs }
        val others = wantedByStep.filter { it.name !in texts && it.name != Ports.SHARE && it.name !in Ports.GRADIENT_SUMS }
        val values = others.associate { tensor ->
            val shape = tensor.shape.toLongArray()
            tensor.name to TensorValue.Floats(shape, FloatArray(shape.fold(1L, Long::times).toInt()))
        }
        val recorder = Recorder()
        return recorder to runStep(recorder, manifest, tier, values + texts)
    }

    /** Texts of 3, 6 and 5 tokens: 6 in row 0; 5 and 3 in row 1. Shares 1/3 and 2/3; tokens 6 and 8. */
    @Test
    fun aPartHasItsRowsAndTheLabelsOfItsTexts() {
        assertEquals(Capacity(2, 8, 3), room)
        val (recorder, outputs) = step(listOf(3, 6, 5))
        assertEquals(listOf(1f / 3, 2f / 3), recorder.calls.map { it.floats(Ports.SHARE)[0] })
        assertEquals(listOf(listOf(1), listOf(0, 2)), recorder.calls.map { call ->
            call.floats(Ports.LABELS).toList().chunked(labels).indices.filter { call.floats(Ports.LABELS)[it * labels] == 1f }
        })
        val (first, second) = recorder.calls.map { it.floats(Ports.READOUT).toList().chunked(8) }
        assertEquals(listOf(List(8) { 0f }, List(6) { 1f / 6 } + listOf(0f, 0f), List(8) { 0f }), first)
        assertEquals(listOf(List(5) { 0f } + List(3) { 1f / 3 }, List(8) { 0f }, List(5) { 0.2f } + List(3) { 0f }), second)
        // Losses 1 and 2; usage the mean by tokens.
        assertContentEquals(floatArrayOf((1.0 / 3 * 1 + 2.0 / 3 * 2).toFloat()), outputs.floats(Ports.LOSS))
        assertEquals(((6.0 * 1 + 8.0 * 2) / 14).toFloat(), outputs.floats(Ports.USAGE)[0])
        assertEquals(2f, recorder.applied.floats(Ports.gradientSum(Ports.TRAINED))[0])
    }

    /** One short text stands in row 0: the other part has no token and is not called, and a step without any still ends. */
    @Test
    fun aPartWithoutTokensIsNotCalled() {
        val (one, outputs) = step(listOf(4))
        assertEquals(listOf(1f), one.calls.map { it.floats(Ports.SHARE)[0] })
        assertEquals(1f, outputs.floats(Ports.LOSS)[0])
        val (none, empty) = step(listOf(0, 0))
        assertEquals(0, none.calls.size)
        assertEquals(0f to 0f, empty.floats(Ports.LOSS)[0] to empty.floats(Ports.USAGE)[0])
        assertEquals(0f, none.applied.floats(Ports.gradientSum(Ports.TRAINED))[0])
    }
}
