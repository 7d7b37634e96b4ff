extension Json {
    /// The one text of this tree: sorted keys, no spaces, UTF-8 without escapes but `\"` and `\\`. SPEC.md, "Digests".
    ///
    /// Only for trees of ours: texts are plain, fractions are those of ``shortestDecimal(_:)``, and neither `true` nor `null` is in them.
    public var canonical: Bytes {
        switch self {
        case .members(let members):
            let named = members.map { (Bytes($0.utf8), $1) }.sorted { $0.0.lexicographicallyPrecedes($1.0) }
            let parts = named.map { Self.quoted($0) + [UInt8(ascii: ":")] + $1.canonical }
            return Self.joined("{", parts, "}")
        case .items(let items): return Self.joined("[", items.map(\.canonical), "]")
        case .text(let text): return Self.quoted(Bytes(text.utf8))
        case .whole(let number): return Bytes("\(number)".utf8)
        case .fraction(let number): return Bytes(shortestDecimal(number).utf8)
        case .truth, .null: preconditionFailure("canonical JSON has neither truths nor nulls")
        }
    }

    private static func joined(_ first: Unicode.Scalar, _ parts: [Bytes], _ last: Unicode.Scalar) -> Bytes {
        [UInt8(ascii: first)] + parts.joined(separator: [UInt8(ascii: ",")]) + [UInt8(ascii: last)]
    }

    private static func quoted(_ text: Bytes) -> Bytes {
        let marks = [UInt8(ascii: "\""), UInt8(ascii: "\\")]
        return [marks[0]] + text.flatMap { marks.contains($0) ? [marks[1], $0] : [$0] } + [marks[0]]
    }
}

/// Returns the shortest decimal that reads back as a number from 0.001 to below 10,000,000, with a digit after the point.
///
/// That is Swift's own description in this range, which is the only one that a manifest may have (SPEC.md, "Manifest").
public func shortestDecimal(_ number: Double) -> String { number.description }
