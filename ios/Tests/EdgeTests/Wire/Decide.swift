/// Replays a case: what this implementation makes of its bytes. edge_runtime/wire/vectors/decide.py has the same table.
@testable import EdgeWire

typealias Context = Named<Json>

/// What was decided: expected to be a case's expect and meaning.
struct Decision {
    let verdict: String
    let meaning: Json?
}

/// One kind: the keys that its context may have, and what becomes of the bytes.
private struct Rule {
    let keys: Set<String>
    let replay: (Bytes, Context) throws -> Json

    init(_ keys: [String] = [], _ replay: @escaping (Bytes, Context) throws -> Json) {
        (self.keys, self.replay) = (Set(keys), replay)
    }

    static func message<M: Payload & Told>(_: M.Type) -> (String, Rule) {
        (M.name, Rule(["limit"]) { data, context in
            try M.decode(data, limit: context["limit"].map(whole) ?? M.limit).told
        })
    }
}

private let shapeKeys = ["layers", "experts", "rank", "shared_rank", "width", "labels"]
private let methodKeys = [
    "top_k", "vocabulary", "kind", "trained", "frozen", "sequence", "rows", "batch", "recompute", "cut", "trained_layers",
]
private let hyperKeys = ["step", "learning_rate", "head_learning_rate", "shared_learning_rate", "weight_decay"]

private let messages: [String: Rule] = Dictionary(uniqueKeysWithValues: [
    Rule.message(GatewayState.self), Rule.message(Hello.self), Rule.message(Bye.self), Rule.message(Plan.self),
    Rule.message(Delta.self), Rule.message(ClassStatistics.self), Rule.message(Chunk.self), Rule.message(Verdict.self),
    Rule.message(Version.self), Rule.message(Want.self), Rule.message(Offer.self),
])

private let rules: [String: Rule] = messages.merging([
    "Chunks": Rule { data, _ in try chunks(data) },
    "Missing": Rule(["count"]) { data, context in
        .members([("indexes", try missingChunks(data, whole(context["count"])).told)])
    },
    "Values": Rule(["codec", "count"]) { data, context in
        .members([("values", try values(data, context).told)])
    },
    "Encode": Rule(["codec"]) { data, context in
        .members([("hex", .text(hex(try encodeValues(floats(data, data.count / 4), codec(context)))))])
    },
    "Update": Rule(["base"]) { data, context in
        let base = try digits(context["base"])
        return .members([("hex", .text(hex(try encodeValues(try applyUpdate(floats(base, base.count / 4), data)))))])
    },
    "BlockDigest": Rule(["codec", "count"]) { data, context in
        .members([("digest", .text(hex(sha256(try encodeValues(try values(data, context))))))])
    },
    "VersionDigest": Rule { data, _ in .members([("digest", .text(hex(versionDigest(records(data)))))]) },
    "BlockLayout": Rule(["block", "width", "rank", "labels"], layout),
    "BankShape": Rule(shapeKeys) { _, context in
        let shape = try shape(context)
        return .members([("sizes", try shape.ids.map { [$0.layer, $0.index, try shape.size($0)] }.told)])
    },
    "Bank": Rule(shapeKeys + ["federation_digest"], bank),
    "ClassMeans": Rule(["labels", "width", "logit_scale"], classMeans),
    "LabelPrior": Rule(["labels", "strength"], labelPrior),
    "EpochOrder": Rule(["seed", "epoch", "count"]) { _, context in
        let (seed, epoch) = (UInt64(try string(context["seed"]))!, UInt64(try whole(context["epoch"])))
        return .members([("order", epochOrder(seed: seed, epoch: epoch, count: try whole(context["count"])).told)])
    },
    "Packing": Rule(["lengths", "rows", "sequence", "batch"], packing),
    "Topic": Rule { data, _ in try topic(data) },
    "Manifest": Rule { data, _ in try manifest(data) },
    "ProgramInterface": Rule(shapeKeys + methodKeys) { _, context in try interface(context) },
    "Hyper": Rule(hyperKeys) { _, context in try hyper(context) },
    "Enrolment": Rule { data, _ in try enrolment(data) },
    "BrokerUrl": Rule(["allow_plaintext"]) { data, context in try brokerUrl(data, context) },
    "SignedMessage": Rule(["key", "topic"]) { data, context in
        let key = try digits(context["key"])
        let serial = try verifyMessage(data, on: try string(context["topic"]), by: key, signatureVerifier!)
        return .members([("serial", .text(String(serial)))])
    },
    "SignedManifest": Rule(["key", "signature"]) { data, context in
        try verifyManifest(data, digits(context["signature"]), by: digits(context["key"]), signatureVerifier!)
        return .members([])
    },
]) { $1 }

/// The kinds that are known here.
let knownKinds: Set<String> = Set(rules.keys)

/// Returns what is expected to be the case's; a kind or a key of its context that is not known fails.
func decide(_ one: Case) throws -> Decision {
    guard let rule = rules[one.kind] else { throw BrokenCase(what: "\(one.name): unknown kind \(one.kind)") }
    let unknown = Set(one.context.names).subtracting(rule.keys)
    guard unknown.isEmpty else { throw BrokenCase(what: "\(one.name): unknown keys \(unknown) in its context") }
    do {
        return Decision(verdict: "ACCEPT", meaning: try rule.replay(one.data, one.context))
    } catch let error as WireError {
        return Decision(verdict: error.code.name, meaning: nil)
    } catch is any FederationError {
        return Decision(verdict: "REFUSED", meaning: nil)
    }
}

private func digits(_ tree: Json?) throws -> Bytes {
    guard let bytes = unhex(try string(tree)) else { throw BrokenCase(what: "no hexadecimal digits") }
    return bytes
}

private func decimal(_ tree: Json?) throws -> Double {
    guard let number = tree?.number else { throw BrokenCase(what: "no number") }
    return number
}

private func truth(_ tree: Json?) throws -> Bool {
    guard case .truth(let truth)? = tree else { throw BrokenCase(what: "neither true nor false") }
    return truth
}

private func codec(_ context: Context) throws -> Codec { Codec(rawValue: Int32(try whole(context["codec"]))) }

private func values(_ data: Bytes, _ context: Context) throws -> [Float] {
    try decodeValues(data, whole(context["count"]), codec(context))
}

private func chunks(_ data: Bytes) throws -> Json {
    let assembler = Assembler()
    var bodies: [Json] = []
    var (position, count) = (0, 0)
    while position < data.count {
        let end = position + 4 + Int(number(data, at: position, as: UInt32.self))
        if let body = try assembler.add("device-1", Chunk.decode(Bytes(data[(position + 4)..<end]))) {
            bodies.append(.members([
                ("after", count.told), ("bytes", body.count.told), ("sha256", .text(hex(sha256(body)))),
            ]))
        }
        (position, count) = (end, count + 1)
    }
    return .members([("bodies", .items(bodies))])
}

private func records(_ data: Bytes) -> [ExpertId: Bytes] {
    stride(from: 0, to: data.count, by: 40).reduce(into: [:]) { blocks, at in
        let id = ExpertId(Int(number(data, at: at, as: UInt32.self)), Int(number(data, at: at + 4, as: UInt32.self)))
        blocks[id] = Bytes(data[(at + 8)..<(at + 40)])
    }
}

private func layout(_ data: Bytes, _ context: Context) throws -> Json {
    let width = try whole(context["width"])
    let parts: [Part]
    switch try string(context["block"]) {
    case "expert": parts = expertParts(width: width, rank: try whole(context["rank"]))
    case "shared": parts = sharedParts(width: width, rank: try whole(context["rank"]))
    case "head": parts = headParts(width: width, labels: try whole(context["labels"]))
    case let other: throw BrokenCase(what: "unknown block \(other)")
    }
    let values = try decodeValues(data, parts.reduce(0) { $0 + $1.size })
    let tensors = parts.map { part -> (String, Json) in
        let flat = Array(values[part.offset..<(part.offset + part.size)])
        guard part.shape.count == 2 else { return (part.name, flat.told) }
        let rows = stride(from: 0, to: flat.count, by: part.shape[1]).map { Array(flat[$0..<($0 + part.shape[1])]) }
        return (part.name, rows.told)
    }
    return .members([("parts", .members(tensors))])
}

private func shape(_ context: Context) throws -> BankShape {
    try BankShape(
        layers: items(context["layers"]).map(whole), experts: whole(context["experts"]), rank: whole(context["rank"]),
        sharedRank: whole(context["shared_rank"]), width: whole(context["width"]), labels: whole(context["labels"]))
}

private func bank(_ data: Bytes, _ context: Context) throws -> Json {
    let bank = try Bank(reading: data, shape(context), federation: digits(context["federation_digest"]))
    func told(_ id: ExpertId) -> Json { (try? bank.block(id))?.told ?? .items([]) }
    return .members([("digest", .text(hex(bank.digest()))), ("head", told(.head)), ("mean", told(.mean))])
}

private func classMeans(_ data: Bytes, _ context: Context) throws -> Json {
    let (labels, width) = (try whole(context["labels"]), try whole(context["width"]))
    let values = floats(data, labels * (1 + width))
    let sums = ClassSums(counts: Array(values[..<labels]), sums: Array(values[labels...]))
    let (head, mean) = try sums.classMeanHead(logitScale: decimal(context["logit_scale"]))
    return .members([("head", head.told), ("mean", mean.told)])
}

private func labelPrior(_ data: Bytes, _ context: Context) throws -> Json {
    let (values, labels) = (floats(data, data.count / 4), try whole(context["labels"]))
    let weights = try labelWeights(Array(values[..<labels]), strength: decimal(context["strength"]))
    return .members([("probabilities", try withPrior(Array(values[labels...]), weights).told)])
}

private func packing(_: Bytes, _ context: Context) throws -> Json {
    let lengths = try items(context["lengths"]).map(whole)
    let capacity = Capacity(
        rows: try whole(context["rows"]), sequence: try whole(context["sequence"]), batch: try whole(context["batch"]))
    return .members([
        ("stands", pack(lengths, capacity).map { [$0.row, $0.first, $0.count] }.told),
        ("steps", packedSteps(lengths, capacity).told), ("holds", holds(lengths, capacity).told),
    ])
}

private func topic(_ data: Bytes) throws -> Json {
    let address = try Address(parsing: String(decoding: data, as: UTF8.self))
    return .members([
        ("federation", address.federation.told), ("topic", address.topic.rawValue.told), ("name", address.name.told),
        ("retained", address.topic.retained.told),
    ])
}

private func manifest(_ data: Bytes) throws -> Json {
    let manifest = try Manifest(reading: data)
    return .members([
        ("federation_digest", .text(hex(manifest.architecture.digest))),
        ("canonical", .text(String(decoding: manifest.architecture.canonical, as: UTF8.self))),
        ("labels", manifest.architecture.labels.told), ("files", manifest.files.names.sorted().told),
    ])
}

private func interface(_ context: Context) throws -> Json {
    let kind = try string(context["kind"])
    var method = MethodShape(MethodKind(rawValue: kind)!)
    (method.trained, method.frozen) = (try whole(context["trained"]), try whole(context["frozen"]))
    (method.sequence, method.rows, method.batch) = (
        try whole(context["sequence"]), try whole(context["rows"]), try whole(context["batch"])
    )
    (method.recompute, method.cut) = (try string(context["recompute"]), try truth(context["cut"]))
    method.layers = try whole(context["trained_layers"])
    let model = ModelShape(
        try shape(context), topK: try whole(context["top_k"]), vocabulary: try whole(context["vocabulary"]))
    let spec = methodSpec(model, method)
    func listed(_ tensors: [TensorSpec]) -> Json {
        .items(tensors.map { .items([.text($0.name), .text($0.dtype), $0.shape.told]) })
    }
    return .members([("name", .text(method.name)), ("inputs", listed(spec.inputs)), ("outputs", listed(spec.outputs))])
}

private func hyper(_ context: Context) throws -> Json {
    let values = Hyper.values(
        step: try whole(context["step"]), learningRate: try decimal(context["learning_rate"]),
        headLearningRate: try decimal(context["head_learning_rate"]),
        sharedLearningRate: try decimal(context["shared_learning_rate"]), weightDecay: try decimal(context["weight_decay"]))
    return .members([
        ("values", values.told), ("places", .members(Hyper.places.map { ($0.key, $0.value.told) })),
        ("size", Hyper.size.told),
    ])
}

private func enrolment(_ data: Bytes) throws -> Json {
    let enrolment = try Enrolment(reading: data)
    let at = enrolment.gateway
    return .members([
        ("enrolment_format", enrolmentFormat.told), ("device", enrolment.device.told),
        ("federation", enrolment.federation.told), ("federation_digest", enrolment.federationDigest.told),
        ("package_digest", enrolment.packageDigest.told),
        ("gateway", .members([
            ("host", at.host.told), ("port", at.port.told), ("tls", at.tls.told),
            ("allow_plaintext", at.allowPlaintext.told), ("websocket", at.websocket.told),
        ])),
        ("ca", enrolment.ca.told), ("certificate", enrolment.certificate.told), ("key", enrolment.key.told),
        ("user", enrolment.user.told), ("password", enrolment.password.told),
        ("gateway_key", enrolment.gatewayKey.told), ("package_key", enrolment.packageKey.told),
    ])
}

private func brokerUrl(_ data: Bytes, _ context: Context) throws -> Json {
    let plaintext = try context["allow_plaintext"].map(truth) ?? false
    let url = try BrokerUrl(parsing: String(decoding: data, as: UTF8.self), allowPlaintext: plaintext)
    return .members([
        ("host", url.host.told), ("port", url.port.told), ("tls", url.tls.told), ("user", url.user.told),
        ("password", url.password.told), ("websocket", url.websocket.told), ("shown", url.description.told),
    ])
}
