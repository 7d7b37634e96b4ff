/// SHA-256: Apple's where there is CryptoKit, which uses the processor's instructions; elsewhere the forty lines below.
///
/// swift-crypto, the same interface for Linux, is a dependency that a build may not be able to fetch; elsewhere is, so far,
/// only where the tests run. A digest keeps nothing secret, so what matters is that it is right: every vector goes through it.
#if canImport(CryptoKit)
import CryptoKit
import Foundation

struct Sha256 {
    private var state = SHA256()

    mutating func update<Source: Collection>(_ data: Source) where Source.Element == UInt8 {
        state.update(data: Bytes(data))
    }

    func digest() -> Bytes { Bytes(state.finalize()) }
}
#else
typealias Sha256 = PortableSha256
#endif

/// SHA-256 as FIPS 180-4 has it, section 6.2.
struct PortableSha256 {
    private static let block = 64
    private var state = PortableSha256.fractions(of: 8) { $0.squareRoot() }
    private var rest: Bytes = []
    private var count = 0

    mutating func update<Source: Collection>(_ data: Source) where Source.Element == UInt8 {
        count += data.count
        rest += data
        let whole = rest.count / Self.block * Self.block
        for start in stride(from: 0, to: whole, by: Self.block) { take(start) }
        rest.removeFirst(whole)
    }

    func digest() -> Bytes {
        var last = self
        let zeros = (119 - count % Self.block) % Self.block
        last.update([0x80] + Bytes(repeating: 0, count: zeros) + littleEndian(UInt64(count) * 8).reversed())
        return last.state.flatMap { littleEndian($0).reversed() }
    }

    private mutating func take(_ start: Int) {
        func turned(_ word: UInt32, _ bits: UInt32) -> UInt32 { word >> bits | word << (32 - bits) }
        var words = [UInt32](repeating: 0, count: 64)
        for place in 0..<16 { words[place] = number(rest, at: start + 4 * place, as: UInt32.self).byteSwapped }
        for place in 16..<64 {
            let (old, new) = (words[place - 15], words[place - 2])
            words[place] = words[place - 16] &+ (turned(old, 7) ^ turned(old, 18) ^ old >> 3)
                &+ words[place - 7] &+ (turned(new, 17) ^ turned(new, 19) ^ new >> 10)
        }
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for place in 0..<64 {
            let first = h &+ (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) &+ (e & f ^ ~e & g)
                &+ Self.constants[place] &+ words[place]
            let second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) &+ (a & b ^ a & c ^ b & c)
            (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
        }
        for (place, word) in [a, b, c, d, e, f, g, h].enumerated() { state[place] &+= word }
    }

    private static let constants: [UInt32] = fractions(of: 64) { cubeRoot(of: $0) }

    /// The first 32 bits of the fractions of a root of the first primes, which is how the standard defines its constants.
    private static func fractions(of count: Int, _ root: (Double) -> Double) -> [UInt32] {
        var primes: [Int] = []
        var candidate = 2
        while primes.count < count {
            if primes.allSatisfy({ candidate % $0 != 0 }) { primes.append(candidate) }
            candidate += 1
        }
        return primes.map { prime in
            let value = root(Double(prime))
            return UInt32((value - value.rounded(.down)) * 4_294_967_296) // float64 has the bits: checked by the tests
        }
    }

    /// Cube root by Newton's method; the standard library alone has none.
    private static func cubeRoot(of value: Double) -> Double {
        var root = value
        for _ in 0..<100 { root = (2 * root + value / (root * root)) / 3 }
        return root
    }
}
