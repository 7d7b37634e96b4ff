/// Reads the fields of one protobuf message, as strictly as SPEC.md, "Refusals", asks: a tag or a length is a varint of at
/// most five bytes and 32 bits, any other of at most ten bytes; texts are UTF-8; unknown fields are skipped.
public struct FieldReader {
    /// Bytes that are no message.
    struct Malformed: Error {}

    private enum Kind: Int {
        case varint, fixed64, bytes, groupBegins, groupEnds, fixed32
    }

    /// Messages and groups inside each other; protobuf's own readers stop here, too.
    private static let deepest = 100

    private let data: Bytes
    private let end: Int
    private let depth: Int
    private var position: Int
    private var kind = Kind.varint
    private var taken = false

    /// Of the field that is read now.
    public private(set) var number = 0

    private init(_ data: Bytes, _ range: Range<Int>, depth: Int) throws {
        guard depth <= Self.deepest else { throw Malformed() }
        (self.data, self.position, self.end, self.depth) = (data, range.lowerBound, range.upperBound, depth)
    }

    /// Returns the message that `data` is. Throws: ``Malformed``.
    static func message<M: Message>(_ type: M.Type, in data: Bytes) throws -> M {
        try message(type, in: data, range: 0..<data.count, depth: 0)
    }

    private static func message<M: Message>(_: M.Type, in data: Bytes, range: Range<Int>, depth: Int) throws -> M {
        var message = M()
        var reader = try FieldReader(data, range, depth: depth)
        while reader.position < reader.end {
            try reader.begin()
            try message.read(&reader)
            if !reader.taken { try reader.skip() }
        }
        return message
    }

    private mutating func begin() throws {
        let tag = try short()
        guard tag >> 3 > 0, let kind = Kind(rawValue: tag & 7) else { throw Malformed() }
        (self.number, self.kind, self.taken) = (tag >> 3, kind, false)
    }

    /// Passes over a field that is not known here, or is of another kind than the one that is.
    private mutating func skip() throws {
        switch kind {
        case .varint: _ = try varint()
        case .fixed64: _ = try take(8)
        case .bytes: _ = try take(short())
        case .fixed32: _ = try take(4)
        case .groupEnds: throw Malformed()
        case .groupBegins: try skipGroup()
        }
    }

    /// Passes over what an unknown group holds, up to its own end.
    private mutating func skipGroup() throws {
        var open = [number]
        while let innermost = open.last {
            guard depth + open.count <= Self.deepest else { throw Malformed() }
            try begin()
            switch kind {
            case .groupBegins: open.append(number)
            case .groupEnds:
                guard number == innermost else { throw Malformed() }
                open.removeLast()
            default: try skip()
            }
        }
    }

    private mutating func take(_ size: Int) throws -> Range<Int> {
        guard size <= end - position else { throw Malformed() }
        defer { position += size }
        return position..<position + size
    }

    private mutating func byte() throws -> UInt8 {
        guard position < end else { throw Malformed() }
        defer { position += 1 }
        return data[position]
    }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<10 {
            let byte = try byte()
            value |= UInt64(byte & 0x7F) << (7 * index)
            if byte < 0x80 { return value }
        }
        throw Malformed()
    }

    /// Returns a tag or a length.
    private mutating func short() throws -> Int {
        var value = 0
        for index in 0..<5 {
            let byte = try byte()
            value |= Int(byte & 0x7F) << (7 * index)
            if byte < 0x80 {
                guard value <= Int(UInt32.max) else { throw Malformed() }
                return value
            }
        }
        throw Malformed()
    }

    /// Returns whether this field is of a kind, and is now taken.
    private mutating func takes(_ wanted: Kind) -> Bool {
        if kind == wanted { taken = true }
        return taken
    }

    private mutating func float() throws -> Float {
        Float(bitPattern: EdgeWire.number(data, at: try take(4).lowerBound))
    }

    /// Passes through the values of a packed list.
    private mutating func packed(_ each: (inout FieldReader) throws -> Void) throws {
        var inside = try FieldReader(data, take(short()), depth: depth)
        while inside.position < inside.end { try each(&inside) }
    }
}

extension FieldReader {
    public mutating func read(_ value: inout UInt32) throws {
        if takes(.varint) { value = UInt32(truncatingIfNeeded: try varint()) }
    }

    public mutating func read(_ value: inout UInt64) throws {
        if takes(.varint) { value = try varint() }
    }

    public mutating func read(fixed64 value: inout UInt64) throws {
        if takes(.fixed64) { value = EdgeWire.number(data, at: try take(8).lowerBound) }
    }

    public mutating func read(_ value: inout Bool) throws {
        if takes(.varint) { value = try varint() != 0 }
    }

    public mutating func read(_ value: inout Float) throws {
        if takes(.fixed32) { value = try float() }
    }

    public mutating func read(_ value: inout String) throws {
        guard takes(.bytes) else { return }
        guard let text = utf8Text(data[try take(short())]) else { throw Malformed() }
        value = text
    }

    public mutating func read(_ value: inout Bytes) throws {
        if takes(.bytes) { value = Bytes(data[try take(short())]) }
    }

    public mutating func read<E: OpenEnum>(_ value: inout E) throws {
        if takes(.varint) { value = E(rawValue: Int32(truncatingIfNeeded: try varint())) }
    }

    public mutating func read<E: OpenEnum>(_ list: inout [E]) throws {
        func add(_ reader: inout FieldReader) throws {
            list.append(E(rawValue: Int32(truncatingIfNeeded: try reader.varint())))
        }
        if takes(.varint) { try add(&self) } else if takes(.bytes) { try packed(add) }
    }

    public mutating func read(_ list: inout [Float]) throws {
        if takes(.fixed32) { list.append(try float()) } else if takes(.bytes) { try packed { list.append(try $0.float()) } }
    }

    public mutating func read(_ list: inout [Bytes]) throws {
        if takes(.bytes) { list.append(Bytes(data[try take(short())])) }
    }

    public mutating func read<M: Message>(_ list: inout [M]) throws {
        guard takes(.bytes) else { return }
        list.append(try Self.message(M.self, in: data, range: take(short()), depth: depth + 1))
    }
}
