/// Writes the fields of one protobuf message as protobuf's own writers do: ascending, defaults left out, numbers packed.
public struct FieldWriter {
    public private(set) var bytes: Bytes = []

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private mutating func tag(_ number: Int, _ kind: Int) { varint(UInt64(number << 3 | kind)) }

    private mutating func content(_ number: Int, _ content: Bytes) {
        tag(number, 2)
        varint(UInt64(content.count))
        bytes += content
    }

    public mutating func write(_ number: Int, _ value: UInt64) {
        guard value != 0 else { return }
        tag(number, 0)
        varint(value)
    }

    public mutating func write(_ number: Int, _ value: UInt32) { write(number, UInt64(value)) }

    public mutating func write(_ number: Int, _ value: Bool) { write(number, UInt64(value ? 1 : 0)) }

    public mutating func write<E: OpenEnum>(_ number: Int, _ value: E) {
        write(number, UInt64(bitPattern: Int64(value.rawValue)))
    }

    public mutating func write(_ number: Int, fixed64 value: UInt64) {
        guard value != 0 else { return }
        tag(number, 1)
        bytes += littleEndian(value)
    }

    public mutating func write(_ number: Int, _ value: Float) {
        guard value.bitPattern != 0 else { return } // -0 is no default
        tag(number, 5)
        bytes += littleEndian(value.bitPattern)
    }

    public mutating func write(_ number: Int, _ value: String) {
        if !value.isEmpty { content(number, Bytes(value.utf8)) }
    }

    public mutating func write(_ number: Int, _ value: Bytes) {
        if !value.isEmpty { content(number, value) }
    }

    public mutating func write(_ number: Int, _ list: [Bytes]) {
        for value in list { content(number, value) }
    }

    public mutating func write(_ number: Int, _ list: [Float]) {
        if !list.isEmpty { content(number, floatBytes(list)) }
    }

    public mutating func write<E: OpenEnum>(_ number: Int, _ list: [E]) {
        guard !list.isEmpty else { return }
        var packed = FieldWriter()
        for value in list { packed.varint(UInt64(bitPattern: Int64(value.rawValue))) }
        content(number, packed.bytes)
    }

    public mutating func write<M: Message>(_ number: Int, _ list: [M]) {
        for message in list { content(number, message.encoded()) }
    }
}
