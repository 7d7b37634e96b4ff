/// Identity of a block of the bank, and where its values stand. Axes: r rank, rs shared rank, d width, C labels.

/// A block's name on the wire; sorts in the order in which the wire lists blocks. Both numbers are 0 to 65,535.
public struct ExpertId: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Layer of the blocks outside the layers, and index of a layer's shared expert.
    public static let reserved = 0xFFFF
    /// The head's block.
    public static let head = ExpertId(reserved, 0)
    /// The block of the feature mean.
    public static let mean = ExpertId(reserved, 1)

    public let layer: Int
    public let index: Int

    public init(_ layer: Int, _ index: Int) {
        self.layer = layer
        self.index = index
    }

    /// Returns the id of the shared expert of a layer.
    public static func shared(_ layer: Int) -> ExpertId { ExpertId(layer, reserved) }

    /// Whether this is a layer's shared expert.
    public var isShared: Bool { index == Self.reserved && layer != Self.reserved }

    public static func < (one: ExpertId, other: ExpertId) -> Bool {
        (one.layer, one.index) < (other.layer, other.index)
    }

    /// Short form for people: `3.5`, `3.shared`, `head`, `mean`.
    public var description: String {
        if self == Self.head { return "head" }
        if self == Self.mean { return "mean" }
        if layer == Self.reserved { return "reserved.\(index)" }
        return isShared ? "\(layer).shared" : "\(layer).\(index)"
    }
}

/// Returns ids as the wire lists them: ascending, once each.
public func refs<Ids: Sequence>(_ ids: Ids) -> [ExpertRef] where Ids.Element == ExpertId {
    Set(ids).sorted().map { id in
        var ref = ExpertRef()
        (ref.layer, ref.index) = (UInt32(id.layer), UInt32(id.index))
        return ref
    }
}

/// One tensor inside a block; `offset` counts float32 values from the block's start.
public struct Part: Equatable, Sendable {
    public let name: String
    public let shape: [Int]
    public let offset: Int

    /// The number of values.
    public var size: Int { shape.reduce(1, *) }
}

private func parts(_ named: [(String, [Int])]) -> [Part] {
    var offset = 0
    return named.map { name, shape in
        let part = Part(name: name, shape: shape, offset: offset)
        offset += part.size
        return part
    }
}

/// Returns the parts of an expert's block: `in` holds r rows of the down-projection, then the router row; `out` r rows of
/// the up-projection, then the output bias. So a layer's experts are two matrices, each used in one GEMM.
public func expertParts(width: Int, rank: Int) -> [Part] {
    parts([("in", [rank + 1, width]), ("bias", [rank]), ("out", [rank + 1, width])])
}

/// Returns the parts of a shared expert's block (no router; the last row of `up` is the output bias).
public func sharedParts(width: Int, rank: Int) -> [Part] {
    parts([("down", [rank, width]), ("bias", [rank]), ("up", [rank + 1, width])])
}

/// Returns the parts of the head's block.
public func headParts(width: Int, labels: Int) -> [Part] {
    parts([("weight", [labels, width]), ("bias", [labels])])
}
