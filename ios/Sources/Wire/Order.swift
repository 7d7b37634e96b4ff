/// The order in which a plan's seed leads through a device's examples: the same in every language.

/// Returns the places 0 to `count` - 1 in the order of an epoch.
///
/// Place i has the key splitmix64(splitmix64(seed) + splitmix64(epoch) + i) modulo 2^64 (Steele, Lea and Flood 2014); keys
/// ascend as unsigned numbers, equal ones, next to impossible, by place.
///
/// - Parameters:
///   - seed: of the plan.
///   - epoch: counted from 0 in each plan.
///   - count: examples.
public func epochOrder(seed: UInt64, epoch: UInt64, count: Int) -> [Int] {
    let start = splitmix64(seed) &+ splitmix64(epoch)
    let keys = (0..<count).map { splitmix64(start &+ UInt64($0)) }
    return (0..<count).sorted { (keys[$0], $0) < (keys[$1], $1) }
}

private func splitmix64(_ state: UInt64) -> UInt64 {
    var mixed = state &+ 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
}
