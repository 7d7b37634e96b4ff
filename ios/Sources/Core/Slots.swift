/// Which expert sits in which slot of a program: what a plan's blocks are to a method's tensors.
///
/// Axes: L adapted layers, k of them that a tier trains (from the top), M experts, m trained slots, f frozen slots, H = m + f. A
/// sum over experts knows no order, so any subset fits into any slots: trained first, frozen after. A trained slot that the plan
/// leaves free holds another expert with an update mask of 0, so that the model still runs whole.
import EdgeWire

/// What a plan needs of a tier.
public struct Need: Equatable, Sendable {
    /// n, trained ones, at its fullest layer.
    public let slots: Int
    /// Adapted layers from the top down to its lowest block; 1 for the head alone.
    public let layers: Int

    public init(slots: Int, layers: Int) { (self.slots, self.layers) = (slots, layers) }

    /// What the blocks of a plan need.
    public init<Ids: Sequence>(_ train: Ids, _ shape: BankShape) where Ids.Element == ExpertId {
        let ids = Array(train)
        let experts = ids.filter { !$0.isShared && $0.layer != ExpertId.reserved }
        slots = Dictionary(grouping: experts, by: \.layer).values.map(\.count).max() ?? 0
        layers = max(1, shape.depth(ids))
    }
}

/// One placement.
public struct Slots: Sendable {
    /// The program's size.
    public let tier: Tier
    /// [k, H] index of the expert in each slot.
    public let held: [[Int]]
    /// [k, m], 1 where the plan trains the slot.
    public let updateMask: [[Float]]
    /// Of every slot. With soft gates and H < M, each gate is scaled by M/H, so that the sum over the held has the size of the
    /// sum over all; a softmax over the held needs no scale.
    public let gateScale: Float

    /// Gives every planned expert a trained slot, then fills the other slots with the experts that follow them.
    ///
    /// - Throws: ``PlanError`` for a block that the bank lacks, or that lies below the tier's layers, or more experts at a layer
    ///   than trained slots.
    public init<Ids: Sequence>(
        placing train: Ids, _ architecture: Architecture, _ tier: Tier
    ) throws where Ids.Element == ExpertId {
        let shape = try architecture.bankShape()
        let planned = Set(train).sorted()
        let known = Set(shape.ids)
        for block in planned where block == .mean || !known.contains(block) {
            throw PlanError(
                "the plan trains \(block), which this package cannot train (\(shape.experts) experts, layers \(shape.layers))")
        }
        let need = Need(planned, shape)
        guard need.slots <= tier.trainedSlots else {
            throw PlanError(
                "the plan trains \(need.slots) experts at a layer, the program \(tier.method) has \(tier.trainedSlots) slots")
        }
        guard need.layers <= tier.layers else {
            throw PlanError(
                "the plan trains the top \(need.layers) layers, the program \(tier.method) has \(tier.layers) of them")
        }
        let chosen = shape.layers.suffix(tier.layers).map { layer in
            planned.filter { $0.layer == layer && !$0.isShared }.map(\.index)
        }
        self.tier = tier
        held = chosen.map { Self.row($0, shape.experts, tier.heldSlots) }
        updateMask = chosen.map { row in (0..<tier.trainedSlots).map { $0 < row.count ? 1 : 0 } }
        gateScale = sameText(architecture.gate, "topk") ? 1 : Float(Double(shape.experts) / Double(tier.heldSlots))
    }

    /// Chosen experts, then those that follow the last of them, round the ring: so the company changes with the plan.
    private static func row(_ chosen: [Int], _ experts: Int, _ held: Int) -> [Int] {
        let start = chosen.last.map { $0 + 1 } ?? 0
        let others = (0..<experts).map { (start + $0) % experts }.filter { !chosen.contains($0) }
        return Array((chosen + others).prefix(held))
    }

    /// Returns the numbers of the k layers, ascending.
    public func layers(_ shape: BankShape) -> [Int] { shape.layers.suffix(held.count) }
}
