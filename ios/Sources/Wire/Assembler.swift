/// Puts bodies together. What it keeps is bounded by what was received, not by what a chunk announces.
///
/// Room is made by dropping whole unfinished bodies, the one that waited longest first: of the sender itself when it is over
/// its share, else of the sender that holds most. So nobody can push another's body out by sending little, and a dropped
/// body is sent again, since no verdict came for it. One thread at a time.
public final class Assembler {
    // What is kept beside the bytes; charged, so that a flood of tiny pieces is bounded like one of large pieces.
    private static let bodyCost = 1024
    private static let pieceCost = 128

    private struct Shape: Equatable {
        let count: UInt32
        let total: UInt64
        let kind: Kind
        let piece: Int
    }

    private final class Partial {
        let shape: Shape
        var pieces: [UInt32: Bytes] = [:]
        var cost = Assembler.bodyCost
        /// When it was last heard of, in chunks that came.
        var heard = 0

        init(_ shape: Shape) { self.shape = shape }
    }

    private final class Sender {
        var bodies: [Bytes: Partial] = [:] // by digest
        var held = 0
    }

    private let limit: Int
    private let bodyLimit: Int
    private let senderLimit: Int
    private var senders: [Bytes: Sender] = [:] // by name
    private var clock = 0

    /// Bytes kept for unfinished bodies, their bookkeeping included.
    public private(set) var heldBytes = 0

    /// - Parameters:
    ///   - limit: bytes of all unfinished bodies together.
    ///   - bodyLimit: bytes of one body.
    ///   - senderLimit: bytes of one sender's unfinished bodies together; half of the limit if not given.
    public init(limit: Int = 4 * Limits.body, bodyLimit: Int = Limits.body, senderLimit: Int? = nil) {
        (self.limit, self.bodyLimit, self.senderLimit) = (limit, bodyLimit, senderLimit ?? limit / 2)
    }

    /// Takes a checked chunk of a sender; returns the body when this chunk completes it.
    ///
    /// - Throws: ``WireError`` TOO_LARGE, MALFORMED (chunks that contradict each other) or DIGEST_MISMATCH; after the last
    ///   two the body's chunks are forgotten.
    public func add(_ name: String, _ chunk: Chunk) throws -> Bytes? {
        guard chunk.total <= UInt64(bodyLimit) else {
            throw WireError(.tooLarge, "body of \(chunk.total) bytes, limit \(bodyLimit)")
        }
        let name = Bytes(name.utf8)
        let partial = try place(name, chunk)
        guard partial.pieces.count == Int(chunk.count) else {
            makeRoom(name)
            return nil
        }
        drop(name, chunk.digest)
        let body = (0..<chunk.count).reduce(into: Bytes()) { $0 += partial.pieces[$1]! }
        guard sha256(body) == chunk.digest else {
            throw WireError(.digestMismatch, "\(body.count) bytes do not have the digest \(hex(chunk.digest).prefix(12))")
        }
        return body
    }

    /// Returns which chunks of a body lack, as a Want says it; nil when nothing is kept of it.
    public func missing(_ name: String, _ digest: Bytes) -> Bytes? {
        guard let partial = senders[Bytes(name.utf8)]?.bodies[digest] else { return nil }
        let count = Int(partial.shape.count)
        return missingBytes((0..<count).filter { partial.pieces[UInt32($0)] == nil }, count)
    }

    /// Drops an unfinished body of a sender, if it is there; without `digest` all of them.
    public func forget(_ name: String, _ digest: Bytes? = nil) {
        let name = Bytes(name.utf8)
        for one in (senders[name]?.bodies ?? [:]).keys where digest == nil || one == digest { drop(name, one) }
    }

    private func place(_ name: Bytes, _ chunk: Chunk) throws -> Partial {
        let shape = Shape(count: chunk.count, total: chunk.total, kind: chunk.kind, piece: try chunk.pieceSize())
        let sender = senders[name] ?? Sender()
        senders[name] = sender
        let partial = sender.bodies[chunk.digest] ?? Partial(shape)
        if sender.bodies.updateValue(partial, forKey: chunk.digest) == nil { charge(sender, partial.cost) }
        let earlier = partial.pieces[chunk.index]
        guard partial.shape == shape, earlier == nil || earlier == chunk.payload else {
            drop(name, chunk.digest)
            throw malformed("chunk \(chunk.index) of \(chunk.count) contradicts the chunks before it")
        }
        if earlier == nil {
            partial.pieces[chunk.index] = chunk.payload
            partial.cost += chunk.payload.count + Self.pieceCost
            charge(sender, chunk.payload.count + Self.pieceCost)
        }
        clock += 1
        partial.heard = clock
        return partial
    }

    /// Drops what is over the limits, but never the only body of the sender: it is the one that is arriving.
    private func makeRoom(_ name: Bytes) {
        guard let own = senders[name] else { return }
        while own.held > senderLimit, own.bodies.count > 1 { dropOldest(name) }
        while heldBytes > limit {
            let candidates = senders.filter { $0.key != name || own.bodies.count > 1 }
            guard let most = candidates.max(by: { $0.value.held < $1.value.held }) else { return }
            dropOldest(most.key)
        }
    }

    private func charge(_ sender: Sender, _ cost: Int) {
        sender.held += cost
        heldBytes += cost
    }

    private func dropOldest(_ name: Bytes) {
        if let oldest = senders[name]?.bodies.min(by: { $0.value.heard < $1.value.heard }) { drop(name, oldest.key) }
    }

    private func drop(_ name: Bytes, _ digest: Bytes) {
        guard let sender = senders[name], let partial = sender.bodies.removeValue(forKey: digest) else { return }
        charge(sender, -partial.cost)
        if sender.bodies.isEmpty { senders[name] = nil }
    }
}
