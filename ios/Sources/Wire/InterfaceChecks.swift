/// A manifest's methods held against the program's interface: what a runtime would give them, and what it would read.

/// Holds every method that tiers and `predict_methods` name against the interface; each of them exists.
///
/// - Throws: ``PackageError`` naming the method, the place, what stands there and what the interface has.
func checkInterface(_ manifest: Manifest, _ source: String) throws {
    let model = try modelShape(manifest)
    let predictions = manifest.predictMethods.map { ($0, predictShape(manifest.methods[$0]!)) }
    var wanted = predictions
    for tier in manifest.tiers {
        let layers = methodLayers(tier, manifest)
        let trunks = tier.trunkMethods.map { ($0, trunkShape(manifest.methods[$0]!, layers)) }
        wanted += stepMethods(tier, layers) + trunks
        try checkTrunks("\(source): trunk_methods", tier, trunks.map(\.1.sequence))
    }
    for (name, shape) in wanted {
        try compare("\(source): method \(shown(name))", manifest.methods[name]!, methodSpec(model, shape))
    }
    let places = predictions.map(\.1.places)
    guard places == places.sorted(by: >) else {
        throw PackageError("\(source): predict_methods have \(places.prefix(20)) places, expected the one with most first")
    }
}

private func checkTrunks(_ place: String, _ tier: Tier, _ lengths: [Int]) throws {
    if lengths.isEmpty || (zip(lengths, lengths.dropFirst()).allSatisfy(<) && lengths.last == tier.seqLen) { return }
    throw PackageError(
        "\(place) take texts of \(lengths.prefix(20)) tokens, expected ascending lengths up to \(tier.seqLen)")
}

/// Sizes that all methods share; a vocabulary is read from the first inference, which alone says it.
private func modelShape(_ manifest: Manifest) throws -> ModelShape {
    let arch = manifest.architecture
    let told = manifest.methods[manifest.predictMethods[0]]!.outputs.first { sameText($0.name, Ports.probabilities) }
    return ModelShape(
        try arch.bankShape(), topK: arch.topK, vocabulary: arch.labels.isEmpty ? told?.shape.last ?? 0 : 0)
}

/// `layers` of the methods of a tier: 0 where it trains all adapted layers.
private func methodLayers(_ tier: Tier, _ manifest: Manifest) -> Int {
    tier.layers < manifest.architecture.adaptedLayers.count ? tier.layers : 0
}

/// Sizes of the methods that make a tier's step, by name.
private func stepMethods(_ tier: Tier, _ layers: Int) -> [(String, MethodShape)] {
    var step = MethodShape(tier.microBatches == 1 ? .train : .accumulate)
    (step.trained, step.frozen, step.sequence) = (tier.trainedSlots, tier.frozenSlots, tier.seqLen)
    (step.rows, step.batch, step.layers) = (tier.rows / tier.microBatches, tier.batchSize, layers)
    (step.recompute, step.cut) = (tier.recompute, !tier.trunkMethods.isEmpty)
    var apply = MethodShape(.apply)
    (apply.trained, apply.layers) = (tier.trainedSlots, layers)
    return [(tier.method, step)] + (tier.applyMethod.isEmpty ? [] : [(tier.applyMethod, apply)])
}

/// Sizes of an inference, read from its own gates [L, H], ids [R, S] and readout [B, N]; 0 where it has none.
private func predictShape(_ spec: MethodSpec) -> MethodShape {
    var shape = MethodShape(.predict)
    shape.trained = axes(spec, Ports.gateScale).last ?? 0
    shape.batch = axes(spec, Ports.readout).first ?? 0
    (shape.rows, shape.sequence) = places(spec)
    return shape
}

/// Sizes of a trunk, read from its own ids [R, S]; 0 where it has none.
private func trunkShape(_ spec: MethodSpec, _ layers: Int) -> MethodShape {
    var shape = MethodShape(.trunk)
    shape.layers = layers
    (shape.rows, shape.sequence) = places(spec)
    return shape
}

private func places(_ spec: MethodSpec) -> (Int, Int) {
    let shape = axes(spec, Ports.ids)
    return (shape.first ?? 0, shape.last ?? 0)
}

private func axes(_ spec: MethodSpec, _ name: String) -> [Int] {
    spec.inputs.first { sameText($0.name, name) }?.shape ?? []
}

private func compare(_ place: String, _ stated: MethodSpec, _ wanted: MethodSpec) throws {
    for (way, have, want) in [("input", stated.inputs, wanted.inputs), ("output", stated.outputs, wanted.outputs)] {
        for index in 0..<max(have.count, want.count) {
            let (one, other) = (index < have.count ? have[index] : nil, index < want.count ? want[index] : nil)
            if one == other { continue }
            throw PackageError(
                "\(place), \(way) \(index): \(said(one)), program interface \(programInterface) has \(said(other)); export the "
                    + "package again")
        }
    }
}

private func said(_ tensor: TensorSpec?) -> String {
    tensor.map { "\(shown($0.name)) \($0.dtype)\($0.shape)" } ?? "nothing"
}
