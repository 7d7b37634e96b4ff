/// manifest.json of a device package: what is in it, what it computes, what it costs, and digests of every file.
///
/// Axes: L adapted layers, M experts, m trained slots, f frozen slots, r rank, d width, C labels, B texts of a step at most, R
/// rows of S places. The fields are those of edge_runtime/wire/manifest.py, and so are their meanings.

/// Format of manifest.json that is read here; another is refused.
public let packageFormat = 5

/// Name of the manifest in a package.
public let manifestFile = "manifest.json"

/// One input or output of a method.
public struct TensorSpec: Equatable, Sendable {
    public let name: String
    /// "float32" or "int64".
    public let dtype: String
    public let shape: [Int]

    public init(_ name: String, _ dtype: String, _ shape: [Int]) { (self.name, self.dtype, self.shape) = (name, dtype, shape) }

    public static func == (one: TensorSpec, other: TensorSpec) -> Bool {
        sameText(one.name, other.name) && sameText(one.dtype, other.dtype) && one.shape == other.shape
    }

    /// Bytes of an element by dtype.
    static let elementBytes = ["float32": 4, "int64": 8]

    /// Bytes of such a tensor; nil where they are beyond counting, or the dtype is none of ours.
    var bytes: Int? {
        if shape.contains(0) { return 0 }
        return Self.elementBytes[dtype].flatMap { product(shape, $0) }
    }
}

/// A method of the program; an output that has an input's name replaces it in the next call.
public struct MethodSpec: Equatable, Sendable {
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
}

/// What a tier costs a device. Zero means not known.
public struct Cost: Sendable {
    /// Peak resident memory of a training process.
    public var memoryMib = 0.0
    /// One training step.
    public var stepMs = 0.0
    /// The package without its gateway part, in 10^6 bytes.
    public var storageMb = 0.0
    /// Largest delta of a round.
    public var bytesUp = 0
    /// Largest download of a round.
    public var bytesDown = 0
    /// The trunk for the texts of one step: what a step costs more while their prefix is not kept.
    public var trunkMs = 0.0

    public init() {}
}

/// One program size.
public struct Tier: Sendable {
    /// Name of the training method.
    public var method: String
    /// m, in each layer.
    public var trainedSlots: Int
    /// f.
    public var frozenSlots: Int
    /// S, tokens of a text at most.
    public var seqLen: Int
    /// R; a step's texts stand in R rows of S places, several in a row where they fit (``pack(_:_:)``).
    public var rows: Int
    /// B, texts of a step at most.
    public var batchSize: Int
    /// k, the adapted layers that `method` trains, counted from the top; L: all. With k < L every expert of the layers below
    /// runs in `trunkMethods`, as it stands.
    public var layers: Int
    /// By export's model of the device.
    public var predicted = Cost()
    /// On the machine that exported.
    public var measured = Cost()
    /// What export measured of this method against eager PyTorch.
    public var proof = Named<Double>()
    /// What the step computes twice instead of keeping it: "none", "light" or "layers".
    public var recompute = "none"
    /// k; with k > 1 `method` takes R / k rows, is called k times, and `applyMethod` follows.
    public var microBatches = 1
    /// The optimizer's method; "" when `method` has it inside.
    public var applyMethod = ""
    /// Methods of what stands below the experts that are trained, whose outputs may be kept, the one for the shortest texts
    /// first; none when `method` takes token ids.
    public var trunkMethods: [String] = []
    /// How the measured stepMs came about: median_ms, least_ms, most_ms, threads, other_cores.
    public var timing = Named<Double>()

    public init(
        method: String, trainedSlots: Int, frozenSlots: Int, seqLen: Int, rows: Int, batchSize: Int, layers: Int
    ) {
        (self.method, self.trainedSlots, self.frozenSlots) = (method, trainedSlots, frozenSlots)
        (self.seqLen, self.rows, self.batchSize, self.layers) = (seqLen, rows, batchSize, layers)
    }

    /// H = m + f.
    public var heldSlots: Int { trainedSlots + frozenSlots }

    /// What a step of this tier has room for.
    public var capacity: Capacity { Capacity(rows: rows, sequence: seqLen, batch: batchSize) }
}

/// The frozen network.
public struct Backbone: Sendable {
    public let name: String
    public let family: String
    /// SHA-256 (hex) of its fp32 weights.
    public let digest: String
    public let width: Int
    public let layers: Int
    public let parameters: Int
}

/// What all devices of a federation share; its digest is the federation's identity.
public struct Architecture: Sendable {
    public let backbone: Backbone
    /// "classification" (a head names a text's label) or "causal-lm" (the backbone's own head continues it).
    public let task: String
    /// C names, in the order of the head's rows; none for causal-lm.
    public let labels: [String]
    /// "soft" or "topk".
    public let gate: String
    /// Experts chosen for a token; 0 with the soft gate.
    public let topK: Int
    public let adaptedLayers: [Int]
    public let experts: Int
    public let rank: Int
    public let sharedRank: Int
    /// How a text becomes one vector: "mean_pool_l2"; "none" for causal-lm.
    public let feature: String
    /// logits = logitScale * (feature - mean) @ weight.T + bias; 1 for causal-lm.
    public let logitScale: Double
    /// causal-lm: id of the token that ends a text, -1 where the backbone has none; else -1.
    public let endToken: Int
    /// SHA-256 (hex) of tokenizer.json.
    public let tokenizerDigest: String
    /// Version digest (hex) of the initial bank, version 0.
    public let bankDigest: String

    /// Returns the shape of every bank of this federation. Throws: ``BankError`` when there can be no such bank.
    public func bankShape() throws -> BankShape {
        try BankShape(
            layers: adaptedLayers, experts: experts, rank: rank, sharedRank: sharedRank, width: backbone.width,
            labels: labels.count)
    }

    /// The canonical JSON of this object: what the federation digest is taken over.
    public var canonical: Bytes {
        let trunk: [(String, Json)] = [
            ("name", .text(backbone.name)), ("family", .text(backbone.family)), ("digest", .text(backbone.digest)),
            ("width", .whole(backbone.width)), ("layers", .whole(backbone.layers)),
            ("parameters", .whole(backbone.parameters)),
        ]
        let members: [(String, Json)] = [
            ("backbone", .members(trunk)), ("task", .text(task)), ("labels", .items(labels.map(Json.text))),
            ("gate", .text(gate)), ("top_k", .whole(topK)), ("adapted_layers", .items(adaptedLayers.map(Json.whole))),
            ("experts", .whole(experts)), ("rank", .whole(rank)), ("shared_rank", .whole(sharedRank)),
            ("feature", .text(feature)), ("logit_scale", .fraction(logitScale)), ("end_token", .whole(endToken)),
            ("tokenizer_digest", .text(tokenizerDigest)), ("bank_digest", .text(bankDigest)),
        ]
        return Json.members(members).canonical
    }

    /// The federation digest.
    public var digest: Bytes { sha256(canonical) }
}

/// A file of the package.
public struct FileEntry: Sendable {
    public let sha256: String
    public let bytes: Int
}

/// The whole of manifest.json.
public struct Manifest: Sendable {
    public let packageFormat: Int
    public let wireVersion: Int
    public let programInterface: Int
    public let architecture: Architecture
    public let device: String
    public let profile: Named<Json>
    public let quantize: String
    public let held: String
    public let tiers: [Tier]
    public let methods: Named<MethodSpec>
    public let predictMethods: [String]
    public let versions: Named<String>
    public let oldestRuntime: String
    public let threads: Int
    public let files: Named<FileEntry>
    public let proof: Named<Double>

    /// Reads manifest.json and checks that its parts fit each other. Throws: ``PackageError`` saying what is wrong and how.
    public init(reading data: Bytes, _ source: String = manifestFile) throws {
        let tree = try Json.parse(data, source)
        guard case .whole(EdgeWire.packageFormat)? = tree.named?["package_format"] else {
            throw PackageError(
                "\(source) has another package format than \(EdgeWire.packageFormat), which this software reads; export it again")
        }
        self = try JsonObject.read(tree, source, Manifest.init)
        try checkManifest(self, source)
    }
}
