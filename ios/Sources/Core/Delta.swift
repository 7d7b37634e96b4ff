/// What training changed, block by block, as the wire carries it; and what a lossy codec left behind.
///
/// Error feedback (Seide et al. 2014; Karimireddy et al., arXiv 1901.09847): what rounding dropped from a block is added to that
/// block's next delta, so that over rounds nothing is lost. Axes: k adapted layers of a tier, H held slots, C labels.
import EdgeWire

/// Which work a delta answers.
public struct Origin: Sendable {
    public let device: String
    /// Over the plan's bytes as received.
    public let planDigest: Bytes
    public let round: UInt64
    public let baseVersion: UInt64
    /// That the plan asks for.
    public let codec: Codec

    public init(device: String, planDigest: Bytes, round: UInt64, baseVersion: UInt64, codec: Codec) {
        (self.device, self.planDigest, self.codec) = (device, planDigest, codec)
        (self.round, self.baseVersion) = (round, baseVersion)
    }
}

/// What a training run gave.
public struct Outcome: Sendable {
    /// Values of the plan's blocks after the last step.
    public var blocks: [ExpertId: [Float]]
    /// Different examples that were trained on.
    public var examples: UInt32
    /// [C] of these examples.
    public var labelCounts: [Float]
    /// One for each step, at least one.
    public var losses: [Double]
    /// Median.
    public var stepMs: Double
    /// [k, H] tokens by slot.
    public var routed: [[Float]]
    /// [k, H] tokens that passed while the expert was held.
    public var seen: [[Float]]

    public init(
        blocks: [ExpertId: [Float]], examples: UInt32, labelCounts: [Float], losses: [Double], stepMs: Double,
        routed: [[Float]] = [], seen: [[Float]] = []
    ) {
        (self.blocks, self.examples, self.labelCounts) = (blocks, examples, labelCounts)
        (self.losses, self.stepMs, self.routed, self.seen) = (losses, stepMs, routed, seen)
    }

    private var fifth: Int { max(1, losses.count / 5) }

    /// Mean loss of the first fifth of the steps (at least one).
    public var lossFirst: Double { losses.prefix(fifth).reduce(0, +) / Double(fifth) }

    /// Mean loss of the last fifth.
    public var lossLast: Double { losses.suffix(fifth).reduce(0, +) / Double(fifth) }
}

/// A delta to send.
public struct BuiltDelta: Sendable {
    /// Its bytes.
    public let body: Bytes
    /// Of each block in it; all zero with float32.
    public let residuals: [ExpertId: [Float]]
}

/// Returns a delta.
///
/// - Parameters:
///   - origin: the plan it answers.
///   - base: the bank that training started from.
///   - slots: where the experts sat.
///   - outcome: of the training.
///   - residuals: of earlier deltas, by block; those of other blocks are left alone.
///   - topk: whether tokens are routed, so that use is told.
/// - Throws: ``EdgeWire/WireError`` NOT_FINITE when training diverged; ``EdgeWire/BankError`` for a block that the bank lacks or has in
///   another size.
public func buildDelta(
    _ origin: Origin, base: Bank, slots: Slots, outcome: Outcome, residuals: [ExpertId: [Float]], topk: Bool
) throws -> BuiltDelta {
    var left: [ExpertId: [Float]] = [:]
    var message = Delta()
    message.wireVersion = wireVersion
    (message.device, message.planDigest, message.codec) = (origin.device, origin.planDigest, origin.codec)
    (message.round, message.baseVersion, message.examples) = (origin.round, origin.baseVersion, outcome.examples)
    (message.lossFirst, message.lossLast) = (Float(outcome.lossFirst), Float(outcome.lossLast))
    (message.stepMs, message.steps) = (Float(outcome.stepMs), UInt32(outcome.losses.count))
    for (block, trained) in outcome.blocks.sorted(by: { $0.key < $1.key }) {
        var change = try together(trained, base.block(block), block).map { $0 - $1 }
        if let residual = residuals[block] { change = try together(change, residual, block).map { $0 + $1 } }
        var expert = ExpertDelta()
        (expert.layer, expert.index) = (UInt32(block.layer), UInt32(block.index))
        expert.values = try encodeValues(change, origin.codec)
        let arrived = try decodeValues(expert.values, change.count, origin.codec)
        left[block] = zip(change, arrived).map { $0 - $1 }
        message.experts.append(expert)
    }
    if topk { message.use = uses(base.shape, slots, outcome) }
    if outcome.blocks[.head] != nil { message.labelCounts = outcome.labelCounts }
    return BuiltDelta(body: message.encoded(), residuals: left)
}

/// Returns the values of two arrays of one block side by side. Throws: ``EdgeWire/BankError`` where one is longer.
private func together(_ one: [Float], _ other: [Float], _ block: ExpertId) throws -> Zip2Sequence<[Float], [Float]> {
    guard one.count == other.count else {
        throw BankError("block \(block) has \(one.count) values, expected \(other.count)")
    }
    return zip(one, other)
}

/// Lists every held expert: the gateway needs the use of those that were not trained too.
private func uses(_ shape: BankShape, _ slots: Slots, _ outcome: Outcome) -> [ExpertUse] {
    let uses = slots.layers(shape).enumerated().flatMap { row, layer in
        slots.held[row].enumerated().map { slot, index in
            var use = ExpertUse()
            (use.layer, use.index, use.seen) = (UInt32(layer), UInt32(index), outcome.seen[row][slot])
            use.routed = min(outcome.routed[row][slot], use.seen)
            return use
        }
    }
    return uses.sorted { ($0.layer, $0.index) < ($1.layer, $1.index) }
}

/// Returns residuals under names a store can hold; a block without any residual is left out.
public func packResiduals(_ residuals: [ExpertId: [Float]]) -> Named<NamedTensor> {
    residuals.sorted { $0.key < $1.key }.reduce(into: Named()) { packed, one in
        if one.value.contains(where: { $0 != 0 }) {
            packed["\(one.key.layer).\(one.key.index)"] = NamedTensor(one.value)
        }
    }
}

/// Reads ``packResiduals(_:)``; what does not fit the bank is left out.
public func unpackResiduals(_ tensors: Named<NamedTensor>, _ shape: BankShape) -> [ExpertId: [Float]] {
    shape.ids.reduce(into: [:]) { residuals, block in
        guard let tensor = tensors["\(block.layer).\(block.index)"], let values = tensor.values,
            tensor.shape == [try? shape.size(block)]
        else { return }
        residuals[block] = values
    }
}
