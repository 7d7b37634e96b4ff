/**
 * The inference methods of a program: which of them a text takes, and calls of them; as edge_runtime/inference/methods.py.
 *
 * Axes: L adapted layers, H experts that a program holds, P values of an expert, B texts of a call at most, R rows of S
 * places. A method is loaded when it is first called, 20 MiB of packed weights for a small encoder; when memory is short,
 * the others go before another is loaded.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Architecture
import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Capacity
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Ports

/**
 * An inference method.
 *
 * @property held H.
 * @property capacity of a call.
 */
internal class InferenceMethod(val name: String, val held: Int, val capacity: Capacity)

/** Returns the inference methods of a package, in the manifest's order. */
internal fun inferenceMethods(manifest: Manifest): List<InferenceMethod> = manifest.predictMethods.map { name ->
    val spec = manifest.methods.getValue(name)
    val held = spec.inputs.single { it.name == Ports.EXPERTS }.shape[1]
    InferenceMethod(name, held.toInt(), capacityOf(spec))
}

/**
 * Returns the method for one text of [count] tokens: the fewest places whose S holds it, then the smallest B. A text longer
 * than all takes the longest, and is cut.
 */
internal fun forOne(methods: List<InferenceMethod>, count: Int): InferenceMethod {
    val longest = methods.maxOf { it.capacity.sequence }
    return methods.filter { it.capacity.sequence >= minOf(count, longest) }
        .minWith(compareBy({ it.capacity.places }, { it.capacity.batch }))
}

/** Returns the method for many texts: the one that takes most of them in a call. */
internal fun forMany(methods: List<InferenceMethod>): InferenceMethod =
    methods.maxWith(compareBy({ it.capacity.batch }, { it.capacity.sequence }))

/**
 * Calls of inference methods with one bank; any thread may ask.
 *
 * @param bank whose experts run; the first H of them where the program holds fewer than M.
 * @param short whether memory is short; asked before a method is loaded.
 */
internal class Inference(
    private val program: Executor,
    manifest: Manifest,
    bank: Bank,
    private val short: () -> Boolean,
) {
    val methods = inferenceMethods(manifest)
    private val steady = methods.map(InferenceMethod::held).distinct()
        .associateWith { predictInputs(bank, manifest.architecture, it) }
    private val loaded = LinkedHashSet<String>()

    /** Returns the outputs of a call by name, [B, ..]; those of text t stand in row t. */
    fun run(method: InferenceMethod, ids: List<LongArray>, packed: Packed): Tensors {
        makeRoom(method.name)
        val texts = packed.frame() + mapOf(Ports.IDS to packed.spread(ids), Ports.READOUT to packed.means())
        return program.execute(method.name, steady.getValue(method.held) + texts)
    }

    @Synchronized
    private fun makeRoom(name: String) {
        if (name !in loaded && loaded.isNotEmpty() && short()) release()
        loaded += name
    }

    /** Frees what the methods that were called have prepared. */
    @Synchronized
    fun release() {
        loaded.forEach(program::unload)
        loaded.clear()
    }
}

private fun predictInputs(bank: Bank, architecture: Architecture, held: Int): Floats {
    val shape = bank.shape
    val layers = shape.layers.size
    val experts = joined(shape.layers.flatMap { layer -> (0 until held).map { bank.block(expert(layer, it)) } })
    val scale = if (architecture.gate == "topk") 1f else (shape.experts.toDouble() / held).toFloat()
    return commonInputs(bank) + mapOf(
        Ports.EXPERTS to floatsOf(experts, layers, held, shape.expertSize),
        Ports.GATE_SCALE to floatsOf(FloatArray(layers * held) { scale }, layers, held),
    )
}
