/// Topic names, with quality of service and retention of each: edge_runtime/wire/SPEC.md, "Topics".
private let root = "fl/v1"
private let nameLimit = 64

/// MQTT's quality of service of every message.
public let qualityOfService = 1

/// The fourth word of a topic; a fifth names the device or the blob, but after `gateway` and `version`.
public enum Topic: String, CaseIterable, Sendable {
    case gateway, version, plan, verdict, blob, hello, bye, delta, statistics, want, offer

    /// Whether the broker keeps the last message.
    public var retained: Bool { self == .gateway || self == .version || self == .plan }

    fileprivate var alone: Bool { self == .gateway || self == .version }
}

/// A parsed topic.
public struct Address: Equatable, Sendable, CustomStringConvertible {
    public let federation: String
    public let topic: Topic
    /// The device, or the hex digest of a blob, or empty.
    public let name: String

    public init(_ federation: String, _ topic: Topic, _ name: String = "") {
        (self.federation, self.topic, self.name) = (federation, topic, name)
    }

    /// Reads a topic. Throws: ``WireError`` MALFORMED when it is none of ours.
    public init(parsing text: String) throws {
        let words = text.unicodeScalars.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
        let topic = (4...5).contains(words.count) ? Topic.allCases.first { sameText($0.rawValue, words[3]) } : nil
        guard let topic, sameText(words[0] + "/" + words[1], root) else {
            throw malformed("topic \(shown(text)) is none of \(root)/FEDERATION/...")
        }
        try need(topic.alone == (words.count == 4), "topic \(shown(text)) has the wrong number of words")
        let name = topic.alone ? "" : try checkName(words[4], "name")
        try need(topic != .blob || isHex(name, 64), "blob \(shown(name)) is no SHA-256 in 64 lower-case hex digits")
        self.init(try checkName(words[2], "federation"), topic, name)
    }

    /// The topic as MQTT knows it.
    public var description: String {
        "\(root)/\(federation)/\(topic.rawValue)" + (name.isEmpty ? "" : "/\(name)")
    }
}

/// Returns `name` when it may stand in a topic: no wildcard or slash can get in. Throws: ``WireError`` MALFORMED.
@discardableResult
public func checkName(_ name: String, _ what: String) throws -> String {
    let bytes = name.utf8
    let fits = bytes.count <= nameLimit && bytes.first.map(isLetterOrDigit) == true
        && bytes.allSatisfy { isLetterOrDigit($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D }
    try need(
        fits,
        "\(what) \(shown(name)) must be 1-64 letters, digits, dots, dashes or underscores and start with a letter or digit")
    return name
}

/// Returns what a device listens to (blobs it wants come on top, one by one). Throws: ``WireError`` MALFORMED for a name.
public func deviceSubscriptions(_ federation: String, _ device: String) throws -> [String] {
    try checkName(federation, "federation")
    try checkName(device, "device")
    return [
        Address(federation, .gateway), Address(federation, .version),
        Address(federation, .plan, device), Address(federation, .verdict, device),
    ].map(\.description)
}
