/// Sizes that both sides agree on: edge_runtime/wire/SPEC.md, "Limits".
public enum Limits {
    /// Bytes of one MQTT payload.
    public static let message = 128 * 1024
    /// Bytes of one chunked body.
    public static let body = 64 * 1024 * 1024
    /// Chunks of one body.
    public static let chunks = 65_536
    /// Fields at the top level of a message, as written; unknown ones count.
    public static let fields = 100_000
    /// Blocks of a bank; so the list of them, 44 bytes each, stays one message.
    public static let blocks = 2_500
    /// Labels of a federation.
    public static let labels = 65_535
    /// Steps of a plan.
    public static let steps = 1_000_000
    /// Slots of a Hello.
    public static let slots = 65_535
    /// Batch size of a Hello.
    public static let batch = 65_536
    /// Depths that a Hello tells of.
    public static let reaches = 64
    /// Bytes that tell which chunks of a body lack.
    public static let missingBytes = chunks / 8
    /// Steps back that a block of a Version lists.
    public static let updates = 8
    /// Blobs asked for in one Want.
    public static let want = 2_000
    /// UTF-8 bytes of a Hello's profile and runtime.
    public static let nameBytes = 200
    /// UTF-8 bytes of a Verdict's detail.
    public static let detailBytes = 1_000
    /// Seconds of a Verdict's retry_after_s.
    public static let retryS: Double = 86_400
    /// Learning rates and weight decay.
    public static let rate: Double = 10
    /// Bytes of every digest: SHA-256.
    public static let digestBytes = 32
    /// Bytes of a gateway's session.
    public static let sessionBytes = 16
}

/// Field 1 of every message that is written here.
public let wireVersion: UInt32 = 1
