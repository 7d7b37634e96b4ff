/// Digests: SHA-256 over bytes that both sides hold, never over a message that was parsed and written again.

/// Returns the 32-byte digest of `data`.
public func sha256<Source: Collection>(_ data: Source) -> Bytes where Source.Element == UInt8 {
    var state = Sha256()
    state.update(data)
    return state.digest()
}

/// A digest of data that comes in pieces, such as a file's.
public struct Digest {
    private var state = Sha256()

    public init() {}

    public mutating func update(_ data: Bytes) { state.update(data) }

    /// Returns the 32-byte digest of all that came.
    public func value() -> Bytes { state.digest() }
}

/// Returns the digest of a version: over (layer u32, index u32, block digest), little-endian, ascending.
public func versionDigest(_ blocks: [ExpertId: Bytes]) -> Bytes {
    sha256(blocks.sorted { $0.key < $1.key }.flatMap { id, digest in
        littleEndian(UInt32(id.layer)) + littleEndian(UInt32(id.index)) + digest
    })
}
