/// The safetensors format: a header's length (u64), a JSON header, the tensors' bytes; little-endian, nothing between.
///
/// Checked as the Rust library checks: known types, sizes that fit their shapes, no holes, no overlap, no rest.
private let lengthBytes = 8
private let metadataKey = "__metadata__"
private let sizes = [
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8,
    "F64": 8,
]

/// One tensor of a file.
public struct NamedTensor: Sendable {
    /// As the format names it: "F32", "I64", ...
    public let dtype: String
    public let shape: [Int]
    /// Its bytes, little-endian.
    public let data: Bytes

    /// A tensor of float32 values; `shape` is one axis unless given.
    public init(_ values: [Float], _ shape: [Int]? = nil) {
        (dtype, self.shape, data) = ("F32", shape ?? [values.count], floatBytes(values))
    }

    fileprivate init(dtype: String, shape: [Int], data: Bytes) { (self.dtype, self.shape, self.data) = (dtype, shape, data) }

    /// Its values; nil unless it is "F32".
    public var values: [Float]? { sameText(dtype, "F32") ? floats(data, data.count / 4) : nil }
}

/// What a safetensors file holds.
public struct Safetensors: Sendable {
    public let tensors: Named<NamedTensor>
    public let metadata: Named<String>

    public init(_ tensors: Named<NamedTensor>, _ metadata: Named<String> = Named()) {
        (self.tensors, self.metadata) = (tensors, metadata)
    }

    /// Reads a file's bytes. Throws: ``BankError`` when they are no safetensors file.
    public init(reading data: Bytes, _ source: String) throws {
        func refuse(_ why: String) -> BankError { BankError("\(source) is no safetensors file (\(why))") }
        let length: UInt64 = data.count < lengthBytes ? .max : number(data, at: 0)
        guard length <= UInt64(max(0, data.count - lengthBytes)) else { throw refuse("its header does not end within it") }
        let start = lengthBytes + Int(length)
        let tree: Json
        do {
            tree = try Json.parse(Bytes(data[lengthBytes..<start]), "the header")
        } catch let error as PackageError {
            throw refuse(error.description)
        }
        guard let header = tree.named else { throw refuse("its header is no object") }
        var metadata = Named<String>()
        if let told = header[metadataKey] {
            guard let members = told.named else { throw refuse("its metadata are no texts") }
            for (name, value) in members.entries {
                guard case .text(let text) = value else { throw refuse("its metadata are no texts") }
                metadata[name] = text
            }
        }
        let entries = try header.entries.filter { !sameText($0.name, metadataKey) }.map { name, tree in
            guard let entry = Entry(tree) else { throw refuse("its tensor \(shown(name)) is not described as it should be") }
            return (name, entry)
        }
        var end = 0
        for (name, entry) in entries.sorted(by: { ($0.1.begin, $0.1.end) < ($1.1.begin, $1.1.end) }) {
            guard entry.begin == end else { throw refuse("a hole or an overlap before \(shown(name))") }
            end = entry.end
        }
        guard end == data.count - start else {
            throw refuse("its tensors have \(end) bytes, \(data.count - start) are there")
        }
        tensors = entries.reduce(into: Named()) { tensors, one in
            let (name, entry) = one
            let bytes = Bytes(data[start + entry.begin..<start + entry.end])
            tensors[name] = NamedTensor(dtype: entry.dtype, shape: entry.shape, data: bytes)
        }
        self.metadata = metadata
    }

    /// Returns the file's bytes: tensors ascending by name.
    public func encoded() -> Bytes {
        var offset = 0
        let named = tensors.entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        var header = named.map { name, tensor -> (String, Json) in
            let offsets = [offset, offset + tensor.data.count]
            offset = offsets[1]
            return (name, .members([
                ("dtype", .text(tensor.dtype)), ("shape", .items(tensor.shape.map(Json.whole))),
                ("data_offsets", .items(offsets.map(Json.whole))),
            ]))
        }
        if !metadata.entries.isEmpty {
            header.append((metadataKey, .members(metadata.entries.map { ($0.name, .text($0.value)) })))
        }
        let text = Json.members(header).canonical
        let padding = Bytes(repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
        return named.reduce(littleEndian(UInt64(text.count + padding.count)) + text + padding) { $0 + $1.value.data }
    }
}

private struct Entry {
    let dtype: String
    let shape: [Int]
    let begin: Int
    let end: Int

    /// nil where the header does not describe a tensor.
    init?(_ tree: Json) {
        guard let members = tree.named, case .text(let dtype)? = members["dtype"], let size = sizes[dtype],
            let shape = members["shape"].flatMap(Self.wholes), let offsets = members["data_offsets"].flatMap(Self.wholes),
            offsets.count == 2, offsets[0] <= offsets[1], let bytes = product(shape, size), offsets[1] - offsets[0] == bytes
        else { return nil }
        (self.dtype, self.shape, begin, end) = (dtype, shape, offsets[0], offsets[1])
    }

    /// Returns a list of numbers that are not negative; nil for what is none.
    private static func wholes(_ tree: Json) -> [Int]? {
        guard case .items(let items) = tree else { return nil }
        var numbers: [Int] = []
        for item in items {
            guard case .whole(let number) = item, number >= 0 else { return nil }
            numbers.append(number)
        }
        return numbers
    }
}

/// Returns the product of axes and a size; nil beyond 64 bits.
func product(_ axes: [Int], _ size: Int) -> Int? {
    var product = size
    for axis in axes {
        let (next, overflow) = product.multipliedReportingOverflow(by: axis)
        if overflow { return nil }
        product = next
    }
    return product
}
