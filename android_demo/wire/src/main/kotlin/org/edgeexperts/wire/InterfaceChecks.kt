/** A manifest's methods held against the program's interface: what a runtime would give them, and what it would read. */
package org.edgeexperts.wire

/**
 * Holds every method that tiers and `predict_methods` name against the interface; each of them exists.
 *
 * @throws PackageException naming the method, the place, what stands there and what the interface has.
 */
internal fun checkInterface(manifest: Manifest, source: String) {
    val model = modelShape(manifest)
    val predictions = manifest.predictMethods.associateWith { predictShape(manifest.methods.getValue(it)) }
    val wanted = LinkedHashSet(predictions.toList()) // one name may be asked for twice, in two sizes
    for (tier in manifest.tiers) {
        val layers = methodLayers(tier, manifest)
        val trunks = tier.trunkMethods.map { it to trunkShape(manifest.methods.getValue(it), layers) }
        wanted += stepMethods(tier, layers) + trunks
        checkTrunks("$source: trunk_methods", tier, trunks.map { (_, trunk) -> trunk.sequence })
    }
    for ((name, shape) in wanted) {
        compare("$source: method ${shown(name)}", manifest.methods.getValue(name), methodSpec(model, shape))
    }
    val places = predictions.values.map(MethodShape::places)
    if (places != places.sortedDescending()) {
        throw PackageException("$source: predict_methods have $places places, expected the one with most first")
    }
}

private fun checkTrunks(where: String, tier: Tier, lengths: List<Long>) {
    if (lengths.isEmpty() || (lengths == lengths.distinct().sorted() && lengths.last() == tier.seqLen)) return
    throw PackageException("$where take texts of $lengths tokens, expected ascending lengths up to ${tier.seqLen}")
}

/** Sizes that all methods share; a vocabulary is read from the first inference, which alone says it. */
private fun modelShape(manifest: Manifest): ModelShape {
    val arch = manifest.architecture
    val told = manifest.methods.getValue(manifest.predictMethods[0]).outputs.find { it.name == Ports.PROBABILITIES }
    val vocabulary = if (arch.labels.isEmpty()) told?.shape?.lastOrNull() ?: 0 else 0
    return ModelShape(arch.bankShape(), arch.topK, vocabulary)
}

/** `layers` of the methods of a tier: 0 where it trains all adapted layers. */
private fun methodLayers(tier: Tier, manifest: Manifest): Long =
    if (tier.layers < manifest.architecture.adaptedLayers.size) tier.layers else 0

/** Sizes of the methods that make a tier's step, by name. */
private fun stepMethods(tier: Tier, layers: Long): List<Pair<String, MethodShape>> {
    val kind = if (tier.microBatches == 1L) MethodKind.TRAIN else MethodKind.ACCUMULATE
    val step = MethodShape(
        kind, tier.trainedSlots, tier.frozenSlots, tier.seqLen, tier.rows / tier.microBatches, tier.batchSize,
        tier.recompute, cut = tier.trunkMethods.isNotEmpty(), layers = layers,
    )
    val apply = MethodShape(MethodKind.APPLY, tier.trainedSlots, 0, 0, 0, 0, layers = layers)
    return listOf(tier.method to step, tier.applyMethod to apply).filter { (name, _) -> name.isNotEmpty() }
}

/** Sizes of an inference, read from its own gates [L, H], ids [R, S] and readout [B, N]; 0 where it has none. */
private fun predictShape(spec: MethodSpec): MethodShape {
    val held = shapeOf(spec, Ports.GATE_SCALE).lastOrNull() ?: 0
    val batch = shapeOf(spec, Ports.READOUT).firstOrNull() ?: 0
    val (rows, sequence) = placesOf(spec)
    return MethodShape(MethodKind.PREDICT, held, 0, sequence, rows, batch)
}

/** Sizes of a trunk, read from its own ids [R, S]; 0 where it has none. */
private fun trunkShape(spec: MethodSpec, layers: Long): MethodShape {
    val (rows, sequence) = placesOf(spec)
    return MethodShape(MethodKind.TRUNK, 0, 0, sequence, rows, 0, layers = layers)
}

private fun placesOf(spec: MethodSpec) = shapeOf(spec, Ports.IDS).let { (it.firstOrNull() ?: 0) to (it.lastOrNull() ?: 0) }

private fun shapeOf(spec: MethodSpec, name: String) = spec.inputs.find { it.name == name }?.shape.orEmpty()

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
