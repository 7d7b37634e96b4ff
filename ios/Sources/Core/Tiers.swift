/// Which tier to train in: what a plan needs, what the device may spend, and what it feels; as edge_runtime/training/tiers.py.
///
/// A plan can be trained in any tier with a trained slot for each of its experts and as many layers as it goes down. The best has
/// no more layers than that needs, since a step costs by the layers; then it is the one nearest to the model that is merged (most
/// experts held, longest texts, most rows), and of those the one with the fewest slots to spare. Memory and heat decide how far
/// down from the best one has to go.
import EdgeWire

private let hotC = 80.0 // from here on a device steps down; boards slow down by themselves at about 85
private let coolC = 70.0 // below, a device may step up again; between the two it stays where it is

/// MiB that are left to others: below it a system begins to end processes.
private let reserveMib = 64.0

/// What a device feels; nil where it cannot tell.
public struct Signal: Sendable {
    /// Resident memory that this process could have, if others kept what they have.
    public let roomMib: Double?
    /// Of its warmest part.
    public let celsius: Double?

    public init(roomMib: Double? = nil, celsius: Double? = nil) { (self.roomMib, self.celsius) = (roomMib, celsius) }
}

extension Cost {
    /// A cost as it was measured, else as it was predicted.
    fileprivate static func of(_ tier: Tier, _ cost: KeyPath<Cost, Double>) -> Double {
        tier.measured[keyPath: cost] > 0 ? tier.measured[keyPath: cost] : tier.predicted[keyPath: cost]
    }
}

/// Returns the tiers in which a plan can be trained, best first.
///
/// - Parameters:
///   - largest: what the device offered: no more slots, no longer texts, the same batch.
///   - need: what the plan needs.
/// - Throws: ``PlanError`` when none has enough.
public func fitting(_ tiers: [Tier], largest: Tier, need: Need) throws -> [Tier] {
    let fitting = tiers.filter { tier in
        need.slots <= tier.trainedSlots && tier.trainedSlots <= largest.trainedSlots && tier.layers >= need.layers
            && tier.heldSlots <= largest.heldSlots && tier.seqLen <= largest.seqLen && tier.batchSize == largest.batchSize
    }
    guard !fitting.isEmpty else {
        throw PlanError(
            "the plan trains \(need.slots) experts at a layer and the top \(need.layers) layers, this device has "
                + "\(largest.trainedSlots) slots and \(tiers.map(\.layers).max() ?? 0) layers")
    }
    func rank(_ tier: Tier) -> [Int] { [tier.layers, -tier.heldSlots, -tier.seqLen, -tier.rows, tier.trainedSlots] }
    return fitting.enumerated().sorted {
        (rank($0.element) + [$0.offset]).lexicographicallyPrecedes(rank($1.element) + [$1.offset])
    }.map(\.element)
}

/// Returns the best tier that memory and heat allow; the smallest when none is allowed.
///
/// A step up needs the reserve twice, and a cool device, so that a device at the edge does not swing.
///
/// - Parameters:
///   - candidates: best first (``fitting(_:largest:need:)``), at least one.
///   - current: where training is; nil before it starts.
public func choose(_ candidates: [Tier], _ signal: Signal, current: Tier? = nil) -> Tier {
    byMemory(byHeat(candidates, signal.celsius, current), signal.roomMib, current)
}

private func cheapest(_ tiers: [Tier], _ cost: KeyPath<Cost, Double>) -> Tier {
    tiers.dropFirst().reduce(tiers[0]) { Cost.of($1, cost) < Cost.of($0, cost) ? $1 : $0 }
}

/// Returns the tiers that a temperature leaves: cheaper steps than now when hot, none dearer until it is cool.
private func byHeat(_ candidates: [Tier], _ celsius: Double?, _ current: Tier?) -> [Tier] {
    guard let celsius, celsius > coolC else { return candidates }
    let least = [cheapest(candidates, \.stepMs)]
    guard let current else { return celsius < hotC ? candidates : least }
    let now = Cost.of(current, \.stepMs)
    let cheaper = candidates.filter { Cost.of($0, \.stepMs) < now }
    if celsius >= hotC, !cheaper.isEmpty { return cheaper }
    let noDearer = candidates.filter { Cost.of($0, \.stepMs) <= now }
    return noDearer.isEmpty ? least : noDearer
}

private func byMemory(_ candidates: [Tier], _ roomMib: Double?, _ current: Tier?) -> Tier {
    guard let roomMib else { return candidates[0] }
    let now = current.map { Cost.of($0, \.memoryMib) } ?? .infinity
    return candidates.first { tier in
        let need = Cost.of(tier, \.memoryMib)
        return need + (need > now ? 2 * reserveMib : reserveMib) <= roomMib
    } ?? cheapest(candidates, \.memoryMib)
}

/// Returns the tiers without those that have more rows than the texts need, in their order: more rows cost more. Smaller ones
/// stay, since memory and heat may ask for them. The rule is the contract's (SPEC.md, "Packing"), so devices with the same texts
/// choose alike; as edge_runtime/training/capacity.py.
///
/// - Parameter counts: gives the tokens of the first 256 texts; asked only where it matters.
public func suiting(_ tiers: [Tier], _ counts: () -> [Int]) -> [Tier] {
    func sizes(_ tier: Tier) -> [Int] { [tier.trainedSlots, tier.frozenSlots, tier.seqLen, tier.batchSize, tier.layers] }
    let alike = Dictionary(grouping: tiers, by: sizes)
    if alike.values.allSatisfy({ $0.count == 1 }) { return tiers }
    let texts = counts()
    let most = alike.mapValues { group in
        group.filter { holds(texts, $0.capacity) }.map(\.rows).min() ?? group.map(\.rows).max() ?? 0
    }
    return tiers.filter { $0.rows <= most[sizes($0)]! }
}
