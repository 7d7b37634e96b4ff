/// Bodies larger than a message travel in chunks, and are put together again in any order, from any mixture.
///
/// Every chunk but the last carries the same number of bytes, so a chunk's place follows from its index alone.

/// Bytes of body in a chunk; the rest of the message is its header, with room to spare.
public let chunkPayload = Limits.message - 1024

/// A body as it is cut into chunks.
public struct Cut: Sendable {
    public let body: Bytes
    public let kind: Kind
    /// Over the body.
    public let digest: Bytes
    /// How many chunks there are.
    public let count: Int
    private let piece: Int

    /// - Parameters:
    ///   - body: 1 to `Limits.body` bytes.
    ///   - payload: bytes of it in each chunk but the last, 1 to ``chunkPayload``.
    /// - Throws: ``WireError`` MALFORMED for an empty body, TOO_LARGE for one over the limits.
    public init(_ body: Bytes, _ kind: Kind, payload: Int = chunkPayload) throws {
        try need(!body.isEmpty, "an empty body cannot be sent")
        piece = min(payload, chunkPayload)
        count = (body.count + piece - 1) / piece
        guard body.count <= Limits.body, count <= Limits.chunks else {
            throw WireError(
                .tooLarge,
                "body of \(body.count) bytes in \(count) chunks, limits \(Limits.body) and \(Limits.chunks)")
        }
        (self.body, self.kind, digest) = (body, kind, sha256(body))
    }

    /// Returns the encoded chunk `index`.
    public func chunk(_ index: Int) -> Bytes {
        var chunk = Chunk()
        (chunk.wireVersion, chunk.kind, chunk.digest) = (wireVersion, kind, digest)
        (chunk.index, chunk.count, chunk.total) = (UInt32(index), UInt32(count), UInt64(body.count))
        chunk.payload = Bytes(body[index * piece..<min(body.count, (index + 1) * piece)])
        return chunk.encoded()
    }
}

/// Reads which chunks of a body lack, ascending; all of them when `missing` is empty.
///
/// - Parameters:
///   - missing: as a Verdict or a Want has it.
///   - count: chunks of the body.
/// - Throws: ``WireError`` MALFORMED when it is of another number of chunks, or names none.
public func missingChunks(_ missing: Bytes, _ count: Int) throws -> [Int] {
    guard !missing.isEmpty else { return Array(0..<count) }
    let indexes = (0..<8 * missing.count).filter { (index: Int) -> Bool in
        let bit: UInt8 = 1 << (index % 8)
        return missing[index / 8] & bit != 0
    }
    try need(
        missing.count == (count + 7) / 8 && !indexes.isEmpty && indexes.last! < count,
        "\(missing.count) bytes do not say which of \(count) chunks lack")
    return indexes
}

/// Writes which of `count` chunks lack, at least one; nothing when it is all of them.
public func missingBytes<Indexes: Collection>(_ indexes: Indexes, _ count: Int) -> Bytes where Indexes.Element == Int {
    if Set(indexes).count == count { return [] }
    var bytes = Bytes(repeating: 0, count: (count + 7) / 8)
    for index in indexes { bytes[index / 8] |= 1 << (index % 8) }
    return bytes
}
