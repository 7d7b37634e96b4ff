/// A message of the schema. The generated ones say which fields they have.
public protocol Message: Sendable {
    /// As the schema has it.
    static var name: String { get }

    init()

    /// Takes a field that is known; another is left alone, and skipped.
    mutating func read(_ field: inout FieldReader) throws

    /// Writes all fields, ascending.
    func write(to writer: inout FieldWriter)
}

extension Message {
    /// Returns the message's bytes.
    public func encoded() -> Bytes {
        var writer = FieldWriter()
        write(to: &writer)
        return writer.bytes
    }
}

/// An enum of the schema. A number of tomorrow's schema stays what it is.
public protocol OpenEnum: RawRepresentable, Hashable, Sendable where RawValue == Int32 {
    /// What the numbers of this schema are called.
    static var names: [Int32: String] { get }

    init(rawValue: Int32)
}

extension OpenEnum {
    /// The schema's word; of an unknown number `CODE_1234`.
    public var name: String { Self.names[rawValue] ?? "\(String(describing: Self.self).uppercased())_\(rawValue)" }
}

/// A message that travels alone: bytes are checked once, where they enter, and what ``decode`` returns may be used without
/// asking again. What needs context (is this expert planned?) is for whoever has it.
///
/// It is written by setting its fields, `wireVersion` to ``EdgeWire/wireVersion``, and ``Message/encoded()``.
public protocol Payload: Message {
    /// In bytes: of a payload, or of a body that chunks carry.
    static var limit: Int { get }

    var wireVersion: UInt32 { get set }

    /// Holds the values against the rules that need no context. Throws: ``WireError``.
    func check() throws
}

extension Payload {
    public static var limit: Int { Limits.message }

    /// Reads and checks a message.
    ///
    /// - Parameters:
    ///   - data: a payload, or for Delta and ClassStatistics the body that chunks carried.
    ///   - limit: in bytes.
    /// - Throws: ``WireError`` with the code that SPEC.md, "Refusals", gives.
    public static func decode(_ data: Bytes, limit: Int = Self.limit) throws -> Self {
        guard data.count <= limit else {
            throw WireError(.tooLarge, "\(name) of \(data.count) bytes, limit \(limit)")
        }
        // Two bytes of an empty nested message cost many more once parsed: count before, not after.
        guard fieldsWithin(data, Limits.fields) else {
            throw WireError(.tooLarge, "\(name) of over \(Limits.fields) fields")
        }
        let message: Self
        do {
            message = try FieldReader.message(Self.self, in: data)
        } catch is FieldReader.Malformed {
            throw malformed("\(data.count) bytes are no \(name)")
        }
        guard message.wireVersion == EdgeWire.wireVersion else {
            let came = message.wireVersion
            throw WireError(.unsupportedWire, "wire version \(came) came, \(EdgeWire.wireVersion) is spoken here")
        }
        try message.check()
        return message
    }
}

/// Returns whether `data` has at most `limit` fields at its top level, without parsing it.
///
/// Bytes that are no message count as few: the parser names what is wrong with them. Each tag of a group (proto2) is one
/// field, as is each field inside.
func fieldsWithin(_ data: Bytes, _ limit: Int) -> Bool {
    guard data.count > limit else { return true }
    var position = 0
    func next() -> UInt64 { // one that does not end within ten bytes ends the data
        var value: UInt64 = 0
        for index in 0..<10 {
            guard position < data.count else { return value }
            let byte = data[position]
            position += 1
            value |= UInt64(byte & 0x7F) << (7 * index)
            if byte < 0x80 { return value }
        }
        position = data.count
        return value
    }
    func skip(_ size: UInt64) {
        position += Int(min(size, UInt64(data.count - position)))
    }
    var count = 0
    while position < data.count {
        switch next() & 7 {
        case 0: _ = next()
        case 1: skip(8)
        case 2: skip(next())
        case 3, 4: break // a group's begin and end
        case 5: skip(4)
        default: return true
        }
        count += 1
        if count > limit { return false }
    }
    return true
}
