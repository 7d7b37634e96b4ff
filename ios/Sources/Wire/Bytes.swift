/// Bytes and texts as the contract sees them: no Foundation, and no opinion about what looks alike.
///
/// Swift holds two texts to be equal when they look alike ("é" as one code point or as two, K and the Kelvin sign), and takes
/// CR LF for one character. The contract compares bytes. So texts that came from outside are compared by ``sameText``,
/// kept apart by their ``Bytes``, and read by their UTF-8 or their code points, never by `Character` or `==`.

public typealias Bytes = [UInt8]

/// Returns whether two texts have the same bytes.
public func sameText(_ one: String, _ other: String) -> Bool { one.utf8.elementsEqual(other.utf8) }

/// Returns the text that bytes are in UTF-8; nil where they are not.
func utf8Text<Source: Collection>(_ bytes: Source) -> String? where Source.Element == UInt8 {
    let text = String(decoding: bytes, as: UTF8.self) // what is no UTF-8 becomes U+FFFD, and other bytes
    return text.utf8.elementsEqual(bytes) ? text : nil
}

/// Returns bytes as lower-case hexadecimal.
public func hex(_ bytes: Bytes) -> String {
    let digits = Bytes("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

/// Returns the bytes that ``hex`` wrote; nil for another text.
public func unhex(_ text: String) -> Bytes? {
    let values = text.utf8.map(hexDigit)
    guard values.count % 2 == 0, !values.contains(nil) else { return nil }
    return stride(from: 0, to: values.count, by: 2).map { values[$0]! << 4 | values[$0 + 1]! }
}

/// Returns what a hexadecimal digit counts, of both cases; nil for another byte.
func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: return byte - 0x30
    case 0x41...0x46: return byte - 0x41 + 10
    case 0x61...0x66: return byte - 0x61 + 10
    default: return nil
    }
}

/// Returns whether a text is `length` lower-case hexadecimal digits.
func isHex(_ text: String, _ length: Int) -> Bool {
    text.utf8.count == length && text.utf8.allSatisfy { isDigit($0) || (0x61...0x66).contains($0) }
}

func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
}

/// Returns `value` as little-endian bytes.
func littleEndian<Value: FixedWidthInteger>(_ value: Value) -> Bytes {
    withUnsafeBytes(of: value.littleEndian) { Bytes($0) }
}

/// Returns the number that stands little-endian at `place`; the caller has seen that there is one.
func number<Value: FixedWidthInteger>(_ bytes: Bytes, at place: Int, as: Value.Type = Value.self) -> Value {
    bytes.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: place, as: Value.self)) }
}

/// Values by name in the order in which they came. Names are told apart by their bytes.
public struct Named<Value> {
    public private(set) var entries: [(name: String, value: Value)] = []
    private var places: [Bytes: Int] = [:]

    public init() {}

    /// Names in the order in which they came.
    public var names: [String] { entries.map(\.name) }

    /// The value of a name, nil where there is none; a name that is set again keeps its place.
    public subscript(name: String) -> Value? {
        get { places[Bytes(name.utf8)].map { entries[$0].value } }
        set {
            guard let newValue else { preconditionFailure("a name is not taken away") }
            if let place = places[Bytes(name.utf8)] {
                entries[place].value = newValue
            } else {
                places[Bytes(name.utf8)] = entries.count
                entries.append((name, newValue))
            }
        }
    }
}

extension Named: Sendable where Value: Sendable {}
