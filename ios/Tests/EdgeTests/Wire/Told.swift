/// What tests tell of a value, as the shared vectors write it: edge_runtime/wire/vectors/README.md.
@testable import EdgeWire

protocol Told {
    var told: Json { get }
}

extension UInt32: Told {
    var told: Json { .whole(Int(self)) }
}

extension Int: Told {
    var told: Json { .whole(self) }
}

extension Float: Told {
    var told: Json { .fraction(Double(self)) }
}

extension Bool: Told {
    var told: Json { .truth(self) }
}

extension String: Told {
    var told: Json { .text(self) }
}

extension Code: Told {
    var told: Json { .whole(Int(rawValue)) }
}

extension Codec: Told {
    var told: Json { .whole(Int(rawValue)) }
}

extension EdgeWire.Kind: Told {
    var told: Json { .whole(Int(rawValue)) }
}

extension Array: Told where Element: Told {
    var told: Json { .items(map(\.told)) }
}

/// Returns whether two trees mean the same; numbers are compared as numbers, whatever way they are written.
func same(_ one: Json, _ other: Json) -> Bool {
    switch (one, other) {
    case (.members(let left), .members(let right)):
        let named = other.named!
        return left.count == right.count
            && left.allSatisfy { name, value in named[name].map { same(value, $0) } ?? false }
    case (.items(let left), .items(let right)):
        return left.count == right.count && zip(left, right).allSatisfy(same)
    case (.text(let left), .text(let right)): return sameText(left, right)
    case (.whole(let left), .whole(let right)): return left == right
    case (.truth(let left), .truth(let right)): return left == right
    case (.null, .null): return true
    default:
        guard let left = one.number, let right = other.number else { return false }
        return left == right // 0.0 equals -0.0 here, as in Python; no vector means NaN
    }
}

extension Json {
    /// Its number; nil for what is none.
    var number: Double? {
        switch self {
        case .whole(let number): return Double(number)
        case .fraction(let number): return number
        default: return nil
        }
    }
}
