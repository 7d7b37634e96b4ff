private let blockLimit = 64 * 1024 * 1024
private let bankLimit = Int(Int32.max)

/// Which blocks a bank has, and how large each is.
public struct BankShape: Equatable, Sendable {
    /// Numbers of the adapted layers, ascending.
    public let layers: [Int]
    /// M, in each layer.
    public let experts: Int
    /// r.
    public let rank: Int
    /// rs; 0 means that there are no shared experts.
    public let sharedRank: Int
    /// d.
    public let width: Int
    /// C; 0 where the model continues texts: such a bank has neither head nor mean.
    public let labels: Int

    /// - Throws: ``BankError`` for a size below 1, layers that are not ascending, or more than SPEC.md, "Limits", allows.
    public init(layers: [Int], experts: Int, rank: Int, sharedRank: Int, width: Int, labels: Int) throws {
        (self.layers, self.experts, self.rank) = (layers, experts, rank)
        (self.sharedRank, self.width, self.labels) = (sharedRank, width, labels)
        func demand(_ condition: Bool, _ detail: @autoclosure () -> String) throws {
            if !condition { throw BankError(detail()) }
        }
        try demand(
            layers.first.map { $0 >= 0 } == true && zip(layers, layers.dropFirst()).allSatisfy(<),
            "adapted layers must be ascending numbers, got \(layers.prefix(20))")
        try demand(
            min(experts, rank, width) >= 1 && min(sharedRank, labels) >= 0,
            "sizes must be positive, got \([experts, rank, sharedRank, width, labels])")
        let last = layers[layers.count - 1]
        try demand(
            last < ExpertId.reserved && experts < ExpertId.reserved,
            "layers and experts are numbered below \(ExpertId.reserved), got \(last) and \(experts)")
        try demand(labels <= Limits.labels, "\(labels) labels, limit \(Limits.labels)")
        let blocks = layers.count * (experts + (sharedRank > 0 ? 1 : 0)) + (labels > 0 ? 2 : 0)
        try demand(
            blocks <= Limits.blocks,
            "a bank of \(blocks) blocks, limit \(Limits.blocks): adapt fewer layers or take fewer experts")
        // Bounded one by one first, so that no product of two of them leaves 64 bits, where Swift would end the program.
        try demand(
            max(rank, sharedRank, width) <= blockLimit && 4 * max(expertSize, sharedSize, headSize) <= blockLimit,
            "the largest block is over \(blockLimit) bytes: take a smaller rank or fewer labels")
        let bytes = 4 * (layers.count * (experts * expertSize + sharedSize) + headSize + meanSize)
        try demand(
            bytes <= bankLimit, "a bank of \(bytes) bytes, limit \(bankLimit): adapt fewer layers or take fewer experts")
    }

    /// P, values of an expert's block.
    public var expertSize: Int { 2 * (rank + 1) * width + rank }

    /// Ps, values of a shared expert's block; 0 without shared experts.
    public var sharedSize: Int { sharedRank > 0 ? (2 * sharedRank + 1) * width + sharedRank : 0 }

    /// Values of the head's block; 0 without labels.
    public var headSize: Int { labels * (width + 1) }

    /// Values of the mean's block; 0 without labels.
    public var meanSize: Int { labels > 0 ? width : 0 }

    /// Every block of the bank, ascending.
    public var ids: [ExpertId] {
        layers.flatMap { layer in
            (0..<experts).map { ExpertId(layer, $0) } + (sharedRank > 0 ? [ExpertId.shared(layer)] : [])
        } + (labels > 0 ? [.head, .mean] : [])
    }

    /// Returns how many adapted layers, from the top, training blocks goes down to; 0 for the head alone.
    public func depth<Ids: Sequence>(_ blocks: Ids) -> Int where Ids.Element == ExpertId {
        blocks.compactMap { layers.firstIndex(of: $0.layer) }.min().map { layers.count - $0 } ?? 0
    }

    /// Returns the values of a block. Throws: ``BankError`` when the bank has no such block.
    public func size(_ block: ExpertId) throws -> Int {
        if labels > 0, block == .head { return headSize }
        if labels > 0, block == .mean { return meanSize }
        if layers.contains(block.layer) {
            if block.isShared, sharedRank > 0 { return sharedSize }
            if (0..<experts).contains(block.index) { return expertSize }
        }
        throw BankError("no block \(block) in a bank of layers \(layers.prefix(20)) with \(experts) experts each")
    }
}
