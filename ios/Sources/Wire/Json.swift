/// JSON as a tree. Names and texts are compared by their bytes.
public enum Json: Sendable {
    case members([(String, Json)])
    case items([Json])
    case text(String)
    case whole(Int)
    case fraction(Double)
    case truth(Bool)
    case null

    /// Bytes of a file that is read; a manifest has about 7 KB.
    public static let limit = 4 * 1024 * 1024

    /// Objects and lists inside each other; a manifest has six.
    public static let deepest = 16

    /// The members of an object by name; nil for what is none.
    public var named: Named<Json>? {
        guard case .members(let members) = self else { return nil }
        return members.reduce(into: Named()) { $0[$1.0] = $1.1 }
    }

    /// Reads JSON strictly: what two readers could take differently is refused.
    ///
    /// Refused are duplicate keys, NaN and infinity, integers beyond 64 bits, lone surrogates, other encodings than UTF-8, a
    /// byte order mark, and nesting that no file of ours has.
    ///
    /// - Parameters:
    ///   - source: what the bytes are, for the error.
    ///   - limit: in bytes.
    /// - Throws: ``PackageError`` when it is too large or is not strict JSON.
    public static func parse(_ data: Bytes, _ source: String, limit: Int = Json.limit) throws -> Json {
        guard data.count <= limit else { throw PackageError("\(source) has over \(limit) bytes") }
        guard utf8Text(data) != nil else {
            throw PackageError("\(source) is not JSON that this software reads (it is not UTF-8)")
        }
        var reader = JsonReader(data)
        do {
            return try reader.document()
        } catch let error as JsonReader.Refused {
            throw PackageError("\(source) is not JSON that this software reads (\(error.what) at byte \(reader.place))")
        }
    }
}

/// Reads bytes that are known to be UTF-8.
private struct JsonReader {
    struct Refused: Error {
        let what: String
    }

    private let data: Bytes
    private(set) var place = 0

    init(_ data: Bytes) { self.data = data }

    mutating func document() throws -> Json {
        let tree = try value(0)
        blank()
        guard place == data.count else { throw Refused(what: "something follows") }
        return tree
    }

    private var next: UInt8? { place < data.count ? data[place] : nil }

    private mutating func blank() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { place += 1 }
    }

    /// Returns whether a character comes next, and takes it.
    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        blank()
        guard next == UInt8(ascii: character) else { return false }
        place += 1
        return true
    }

    private mutating func expect(_ character: Unicode.Scalar) throws {
        if !take(character) { throw Refused(what: "no '\(character)'") }
    }

    private mutating func word(_ word: String) -> Bool {
        guard data[place...].starts(with: word.utf8) else { return false }
        place += word.utf8.count
        return true
    }

    private mutating func value(_ depth: Int) throws -> Json {
        guard depth <= Json.deepest else { throw Refused(what: "nesting deeper than \(Json.deepest)") }
        if take("{") { return try members(depth + 1) }
        if take("[") { return try items(depth + 1) }
        if take("\"") { return .text(try string()) }
        if word("true") { return .truth(true) }
        if word("false") { return .truth(false) }
        if word("null") { return .null }
        return try number()
    }

    private mutating func members(_ depth: Int) throws -> Json {
        var members: [(String, Json)] = []
        var names: Set<Bytes> = []
        if take("}") { return .members([]) }
        repeat {
            try expect("\"")
            let name = try string()
            guard names.insert(Bytes(name.utf8)).inserted else { throw Refused(what: "duplicate key \(shown(name))") }
            try expect(":")
            members.append((name, try value(depth)))
        } while take(",")
        try expect("}")
        return .members(members)
    }

    private mutating func items(_ depth: Int) throws -> Json {
        var items: [Json] = []
        if take("]") { return .items([]) }
        repeat { items.append(try value(depth)) } while take(",")
        try expect("]")
        return .items(items)
    }

    private mutating func byte() throws -> UInt8 {
        guard let byte = next else { throw Refused(what: "a text without end") }
        place += 1
        return byte
    }

    private mutating func string() throws -> String {
        var bytes = Bytes()
        while true {
            switch try byte() {
            case UInt8(ascii: "\""): return String(decoding: bytes, as: UTF8.self)
            case UInt8(ascii: "\\"): bytes += try escape()
            case ..<0x20: throw Refused(what: "a control character in a text")
            case let plain: bytes.append(plain)
            }
        }
    }

    private mutating func escape() throws -> Bytes {
        switch try byte() {
        case UInt8(ascii: "\""): return [0x22]
        case UInt8(ascii: "\\"): return [0x5C]
        case UInt8(ascii: "/"): return [0x2F]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return try unicode()
        default: throw Refused(what: "an unknown escape")
        }
    }

    /// Returns the UTF-8 of an escaped code point, of which a pair of surrogates stands for one beyond 16 bits.
    private mutating func unicode() throws -> Bytes {
        var point = try unit()
        if (0xD800..<0xDC00).contains(point), data[place...].starts(with: "\\u".utf8) {
            place += 2
            let low = try unit()
            guard (0xDC00..<0xE000).contains(low) else { throw Refused(what: "a lone surrogate") }
            point = 0x10000 + (point - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(point) else { throw Refused(what: "a lone surrogate") }
        return Bytes(String(scalar).utf8)
    }

    private mutating func unit() throws -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = next.flatMap(hexDigit) else { throw Refused(what: "a broken escape") }
            value = value << 4 | UInt32(digit)
            place += 1
        }
        return value
    }

    /// Passes over digits; returns whether there was one.
    private mutating func digits() -> Bool {
        let start = place
        while let byte = next, isDigit(byte) { place += 1 }
        return place > start
    }

    private mutating func number() throws -> Json {
        let start = place
        if next == UInt8(ascii: "-") { place += 1 }
        if next == UInt8(ascii: "0") { place += 1 } else if !digits() { throw Refused(what: "no value") }
        let end = place
        if next == UInt8(ascii: ".") {
            place += 1
            if !digits() { throw Refused(what: "a broken number") }
        }
        if let byte = next, byte | 0x20 == UInt8(ascii: "e") {
            place += 1
            if let sign = next, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { place += 1 }
            if !digits() { throw Refused(what: "a broken number") }
        }
        let text = String(decoding: data[start..<place], as: UTF8.self)
        if place == end {
            guard let whole = Int(text) else { throw Refused(what: "an integer beyond 64 bits") }
            return .whole(whole)
        }
        guard let fraction = Double(text), fraction.isFinite else { throw Refused(what: "a number beyond 64 bits") }
        return .fraction(fraction)
    }
}
