private let federationKey = "federation_digest"

/// All trainable values of a model, float32, block by block; never changed once made.
public struct Bank: Sendable {
    /// Which blocks there are.
    public let shape: BankShape
    private let blocks: [ExpertId: [Float]]

    /// A bank of zeros: with it, a program computes the frozen backbone's own features.
    public init(zeros shape: BankShape) {
        self.init(shape, Dictionary(uniqueKeysWithValues: shape.ids.map { id in
            (id, [Float](repeating: 0, count: (try? shape.size(id)) ?? 0))
        }))
    }

    private init(_ shape: BankShape, _ blocks: [ExpertId: [Float]]) { (self.shape, self.blocks) = (shape, blocks) }

    /// Whether the head favours any label; version 0's does not. A language model's is the backbone's own.
    public var learned: Bool { blocks[.head]?.contains { $0 != 0 } ?? true }

    /// Returns the values of a block. Throws: ``BankError`` when there is no such block.
    public func block(_ id: ExpertId) throws -> [Float] {
        _ = try shape.size(id)
        return blocks[id]!
    }

    /// Returns a bank with some blocks replaced. Throws: ``BankError`` for an unknown block or a wrong size.
    public func replacing(_ changed: [ExpertId: [Float]]) throws -> Bank {
        for (id, values) in changed {
            let expected = try shape.size(id)
            guard values.count == expected else {
                throw BankError("block \(id) has \(values.count) values, expected \(expected)")
            }
        }
        return Bank(shape, blocks.merging(changed) { $1 })
    }

    /// Puts a bank together. Throws: ``BankError`` when a block lacks or has a wrong size.
    public init(_ shape: BankShape, blocks: [ExpertId: [Float]]) throws {
        let missing = shape.ids.filter { blocks[$0] == nil }
        guard missing.isEmpty else {
            throw BankError("\(missing.count) blocks of the bank are missing: \(missing.prefix(5))")
        }
        self = try Bank(shape, [:]).replacing(blocks)
    }

    /// Returns the digest of each block's little-endian bytes.
    public func digests() -> [ExpertId: Bytes] { blocks.mapValues { sha256(floatBytes($0)) } }

    /// Returns the version digest of this bank.
    public func digest() -> Bytes { versionDigest(digests()) }

    /// Writes it as safetensors: experts [L, M, P], shared [L, Ps], head, mean.
    ///
    /// - Parameter federation: digest of the federation that it is for, kept in the metadata.
    public func encoded(federation: Bytes) -> Bytes {
        var tensors = Named<NamedTensor>()
        for part in Self.parts(shape) {
            tensors[part.name] = NamedTensor(part.blocks.flatMap { blocks[$0]! }, part.axes)
        }
        var metadata = Named<String>()
        metadata[federationKey] = hex(federation)
        return Safetensors(tensors, metadata).encoded()
    }

    /// Reads safetensors bytes.
    ///
    /// - Parameters:
    ///   - federation: digest of the federation that it must be for: its labels stand in the same order, too.
    ///   - source: what the bytes are, for the error.
    /// - Throws: ``BankError`` for damaged bytes, no or another federation, missing tensors, wrong shapes, or NaN.
    public init(reading data: Bytes, _ shape: BankShape, federation: Bytes, source: String = "bank") throws {
        let file = try Safetensors(reading: data, source)
        try Self.checkFederation(file.metadata[federationKey], hex(federation), source)
        let parts = Self.parts(shape)
        guard file.tensors.entries.count == parts.count else {
            throw BankError("\(source) holds \(shown(file.tensors.names)), expected \(parts.map(\.name))")
        }
        var blocks: [ExpertId: [Float]] = [:]
        for part in parts {
            guard let tensor = file.tensors[part.name], let values = tensor.values, tensor.shape == part.axes else {
                throw BankError("bank tensor \(part.name) is missing or is not F32\(part.axes)")
            }
            guard values.allSatisfy(\.isFinite) else { throw BankError("\(source) holds NaN or infinity") }
            let size = part.blocks.isEmpty ? 0 : values.count / part.blocks.count
            for (place, id) in part.blocks.enumerated() { blocks[id] = Array(values[place * size..<(place + 1) * size]) }
        }
        self.init(shape, blocks)
    }

    private static func checkFederation(_ told: String?, _ wanted: String, _ source: String) throws {
        guard let told else {
            throw BankError(
                "\(source) does not say which federation it is for (its metadata have no \(federationKey)), so its labels may be "
                    + "others than this package's; train it again, or export the version again")
        }
        guard sameText(told, wanted) else {
            throw BankError(
                "\(source) is for federation \(shown(told, 20)), this package is of \(wanted.prefix(12))...: labels or their order, "
                    + "backbone or initial bank differ; use the package that the bank was trained with")
        }
    }

    /// Which blocks stand in which tensor of a file, in their order, and its axes.
    private static func parts(_ shape: BankShape) -> [(name: String, blocks: [ExpertId], axes: [Int])] {
        let rows = shape.layers.count
        let inLayers = shape.ids.filter { $0.layer != ExpertId.reserved }
        return [
            ("experts", inLayers.filter { !$0.isShared }, [rows, shape.experts, shape.expertSize]),
            ("shared", inLayers.filter(\.isShared), [rows, shape.sharedSize]),
            ("head", shape.labels > 0 ? [.head] : [], [shape.headSize]),
            ("mean", shape.labels > 0 ? [.mean] : [], [shape.meanSize]),
        ]
    }
}
