/** A manifest's methods held against the program's interface: what a runtime would give them, and what it would read. */
package org.edgeexperts.wire

/**
 * Holds every method that tiers and `predict_methods` name against the interface; each of them exists.
 *
 * @throws PackageException naming the method, the place, what stands there and what the interface has.
 */
internal fun checkInterface(manifest: Manifest, source: String) {
    val model = modelShape(manifest)
    val wanted = manifest.tiers.flatMap(::tierMethods).toMap() +
        manifest.predictMethods.associateWith { predictShape(manifest.methods.getValue(it)) }
    for ((name, shape) in wanted) {
        compare("$source: method ${shown(name)}", manifest.methods.getValue(name), methodSpec(model, shape))
    }
}

/** Sizes that all methods share; a vocabulary is read from the first inference, which alone says it. */
private fun modelShape(manifest: Manifest): ModelShape {
    val arch = manifest.architecture
    val told = manifest.methods.getValue(manifest.predictMethod).outputs.find { it.name == Ports.PROBABILITIES }
    val vocabulary = if (arch.labels.isEmpty()) told?.shape?.lastOrNull() ?: 0 else 0
    return ModelShape(arch.bankShape(), arch.topK, vocabulary)
}

/** Sizes of a tier's methods by name: of a step, of its optimizer and of its trunk where it has them. */
private fun tierMethods(tier: Tier): List<Pair<String, MethodShape>> {
    val kind = if (tier.microBatches == 1L) MethodKind.TRAIN else MethodKind.ACCUMULATE
    val batch = tier.batchSize / tier.microBatches
    val cut = tier.trunkMethod.isNotEmpty()
    val step = MethodShape(kind, tier.trainedSlots, tier.frozenSlots, tier.seqLen, batch, tier.recompute, cut)
    return listOfNotNull(
        tier.method to step,
        (tier.applyMethod to MethodShape(MethodKind.APPLY, tier.trainedSlots, 0, 0, 0)).takeIf { it.first.isNotEmpty() },
        (tier.trunkMethod to MethodShape(MethodKind.TRUNK, 0, 0, tier.seqLen, 1)).takeIf { cut },
    )
}

/** Sizes of an inference method, read from its own gates [L, H] and mask [1, S]; 0 where they lack. */
private fun predictShape(spec: MethodSpec): MethodShape {
    fun last(name: String) = spec.inputs.find { it.name == name }?.shape?.lastOrNull() ?: 0
    return MethodShape(MethodKind.PREDICT, last(Ports.GATE_SCALE), 0, last(Ports.MASK), 1)
}

private fun compare(where: String, stated: MethodSpec, wanted: MethodSpec) {
    for ((way, have, want) in listOf(Triple("input", stated.inputs, wanted.inputs), Triple("output", stated.outputs, wanted.outputs))) {
        for (place in 0 until maxOf(have.size, want.size)) {
            val (one, other) = have.getOrNull(place) to want.getOrNull(place)
            if (one == other) continue
            throw PackageException(
                "$where, $way $place: ${said(one)}, program interface $PROGRAM_INTERFACE has ${said(other)};" +
                    " export the package again",
            )
        }
    }
}

private fun said(tensor: TensorSpec?): String =
    if (tensor == null) "nothing" else "${shown(tensor.name)} ${tensor.dtype}${tensor.shape}"
