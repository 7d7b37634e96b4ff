/// What a manifest must be beyond its types: the parts of manifest.json held against each other.
private let textBytes = 200 // UTF-8 bytes of a label, of a name, of a path inside the package
private let tensorLimit = Int(Int32.max) // bytes of one input or output
private let axesLimit = 8
// In this range every language writes the same shortest decimal, without an exponent.
private let scales = 0.001..<1e7
private let classification = "classification"
/// How a text becomes one vector, by task.
private let features = [classification: "mean_pool_l2", "causal-lm": "none"]
private let neededFiles = ["bank.safetensors", "program.pte", "tokenizer.json"]

/// Holds the parts of a manifest against each other. Throws: ``PackageError`` saying which part is wrong and how.
func checkManifest(_ manifest: Manifest, _ source: String) throws {
    let checks = ManifestChecks(manifest: manifest, source: source)
    try checks.need(
        manifest.wireVersion == Int(wireVersion),
        "wire version \(manifest.wireVersion), this software speaks \(wireVersion); export it again")
    try checks.need(
        manifest.programInterface == programInterface,
        "program interface \(manifest.programInterface), this software knows \(programInterface); export it again")
    try checks.architecture()
    try checks.program()
    try checks.predict()
    try checks.tiers()
    try checks.methods()
    try checkInterface(manifest, source)
    try checks.files()
}

/// Returns whether one of some words has the bytes of a text.
private func isOne(_ text: String, of words: [String]) -> Bool { words.contains { sameText($0, text) } }

private func allDiffer(_ texts: [String]) -> Bool { Set(texts.map { Bytes($0.utf8) }).count == texts.count }

private struct ManifestChecks {
    let manifest: Manifest
    let source: String

    private var arch: Architecture { manifest.architecture }

    func need(_ condition: Bool, _ detail: @autoclosure () -> String) throws {
        if !condition { throw PackageError("\(source): \(detail())") }
    }

    func architecture() throws {
        do {
            _ = try arch.bankShape()
        } catch let error as BankError {
            throw PackageError("\(source): \(error)")
        }
        try task()
        for text in [arch.backbone.name, arch.backbone.family] {
            try need(!text.isEmpty && plain(text, textBytes), "\(shown(text)) is empty, over \(textBytes) bytes or not plain")
        }
        let highest = arch.adaptedLayers.last ?? 0
        try need(highest < arch.backbone.layers, "layer \(highest) is not in the backbone")
        try need(scales.contains(arch.logitScale), "logit_scale \(arch.logitScale), expected \(scales)")
        try need(isOne(arch.gate, of: ["soft", "topk"]), "gate \(shown(arch.gate)), expected soft or topk")
        try need(
            sameText(arch.gate, "topk") ? (1...arch.experts).contains(arch.topK) : arch.topK == 0,
            "top_k \(arch.topK) with the \(arch.gate) gate and \(arch.experts) experts")
        for digest in [arch.backbone.digest, arch.tokenizerDigest, arch.bankDigest] {
            try need(isHex(digest, 64), "\(shown(digest)) is no SHA-256")
        }
    }

    private func task() throws {
        let feature = features[arch.task]
        try need(feature != nil, "task \(shown(arch.task)), expected classification or causal-lm")
        try need(
            sameText(arch.feature, feature!), "feature \(shown(arch.feature)), expected \(feature!) for \(arch.task)")
        if sameText(arch.task, classification) {
            try labels()
            try need(arch.endToken == -1, "end_token \(arch.endToken): a classifier has none, expected -1")
        } else {
            try need(arch.labels.isEmpty, "\(arch.labels.count) labels: a model that continues texts has none")
            try need(arch.endToken >= -1, "end_token \(arch.endToken), expected an id, or -1 for none")
        }
    }

    private func labels() throws {
        let labels = arch.labels
        try need((1...Limits.labels).contains(labels.count), "\(labels.count) labels, expected 1 to \(Limits.labels)")
        try need(allDiffer(labels), "labels: one of them stands twice")
        for (place, label) in labels.enumerated() {
            try need(
                !label.isEmpty && plain(label, textBytes),
                "label \(place + 1) of \(labels.count), \(shown(label)), is empty, has over \(textBytes) bytes, or a character "
                    + "that ends a line, steers a terminal or turns text around")
        }
    }

    func program() throws {
        try need(isOne(manifest.held, of: ["all", "slots"]), "held \(shown(manifest.held)), expected all or slots")
        try need(
            isOne(manifest.quantize, of: ["int8", "int4", "none"]),
            "quantize \(shown(manifest.quantize)), expected int8, int4 or none")
        try need(manifest.threads >= 1, "\(manifest.threads) threads")
    }

    func predict() throws {
        let names = manifest.predictMethods
        try need(!names.isEmpty && allDiffer(names), "predict_methods \(shown(names)), expected at least one, each once")
        for name in names { try need(manifest.methods[name] != nil, "no method \(shown(name))") }
    }

    func tiers() throws {
        try need(!manifest.tiers.isEmpty, "no tier")
        let named = manifest.tiers.map(\.method)
        try need(allDiffer(named), "two tiers of one method: \(shown(named))")
        for tier in manifest.tiers {
            try need(manifest.methods[tier.method] != nil, "tier names the unknown method \(shown(tier.method))")
            // Each is held against the experts first, so that their sum stays within 64 bits.
            try need(
                (1...arch.experts).contains(tier.trainedSlots) && (0...arch.experts).contains(tier.frozenSlots)
                    && tier.heldSlots <= arch.experts,
                "\(tier.trainedSlots) trained and \(tier.frozenSlots) frozen slots, \(arch.experts) experts")
            try need(
                min(tier.seqLen, tier.rows, tier.batchSize) >= 1,
                "batch of \(tier.batchSize) texts in \(tier.rows) rows of \(tier.seqLen) places")
            try layers(tier)
            try memoryPlan(tier)
        }
    }

    /// Below the layers that a tier trains every expert runs, in a trunk: so every one is held, and there is a trunk.
    private func layers(_ tier: Tier) throws {
        let adapted = arch.adaptedLayers.count
        try need((1...adapted).contains(tier.layers), "tier of \(tier.layers) layers, \(adapted) are adapted")
        try need(
            tier.layers == adapted || (!tier.trunkMethods.isEmpty && tier.heldSlots == arch.experts),
            "tier of \(tier.layers) of \(adapted) adapted layers with \(tier.trunkMethods.count) trunk_methods and "
                + "\(tier.heldSlots) of \(arch.experts) experts held, expected a trunk, and all experts")
    }

    private func memoryPlan(_ tier: Tier) throws {
        let (apply, parts) = (tier.applyMethod, tier.microBatches)
        for trunk in tier.trunkMethods {
            try need(manifest.methods[trunk] != nil, "tier names the unknown trunk \(shown(trunk))")
        }
        try need(
            isOne(tier.recompute, of: ["none", "light", "layers"]),
            "recompute \(shown(tier.recompute)), expected none, light or layers")
        try need(parts >= 1 && tier.rows % parts == 0, "\(tier.rows) rows in \(parts) micro-batches")
        try need((parts > 1) == !apply.isEmpty, "\(parts) micro-batches with the apply method \(shown(apply))")
        try need(apply.isEmpty || manifest.methods[apply] != nil, "tier names the unknown method \(shown(apply))")
    }

    func methods() throws {
        for (name, method) in manifest.methods.entries {
            for tensor in method.inputs + method.outputs {
                let which = "\(shown(name)): \(shown(tensor.name))"
                try need(TensorSpec.elementBytes[tensor.dtype] != nil, "\(which) has dtype \(shown(tensor.dtype))")
                try need(
                    tensor.shape.count <= axesLimit && tensor.shape.allSatisfy { $0 >= 0 },
                    "\(which) has shape \(tensor.shape.prefix(20))")
                try need((tensor.bytes ?? .max) <= tensorLimit, "\(which) has over \(tensorLimit) bytes")
            }
        }
    }

    func files() throws {
        for (name, entry) in manifest.files.entries {
            try need(isPath(name) && !sameText(name, manifestFile), "unsafe file name \(shown(name))")
            try need(isHex(entry.sha256, 64) && entry.bytes >= 0, "\(name): bad digest or size")
        }
        let missing = neededFiles.filter { manifest.files[$0] == nil }
        try need(missing.isEmpty, "files lack \(missing)")
        try need(
            sameText(manifest.files["tokenizer.json"]!.sha256, arch.tokenizerDigest),
            "tokenizer.json is not the architecture's tokenizer")
    }

    /// Returns whether a text is words of `[A-Za-z0-9_][A-Za-z0-9._-]*` joined by slashes.
    private func isPath(_ text: String) -> Bool {
        text.utf8.count <= textBytes
            && text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { word in
                guard let first = word.first, isLetterOrDigit(first) || first == UInt8(ascii: "_") else { return false }
                return word.allSatisfy { isLetterOrDigit($0) || Bytes("._-".utf8).contains($0) }
            }
    }
}
