/// Brokers' URLs and hosts: where a broker is, in one line of text; rules: SPEC.md, "Broker URLs".

/// UTF-8 bytes of a user and of a password.
let credentialBytes = 200

private let portLimit = 0xFFFF
private let ports = ["mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443]

private func ascii(_ character: Unicode.Scalar) -> UInt8 { UInt8(ascii: character) }

/// Returns whether bytes are `[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?`.
private func isHostName<Text: BidirectionalCollection>(_ bytes: Text) -> Bool where Text.Element == UInt8 {
    guard let first = bytes.first, let last = bytes.last, bytes.count <= 253 else { return false }
    return isLetterOrDigit(first) && isLetterOrDigit(last)
        && bytes.allSatisfy { isLetterOrDigit($0) || $0 == ascii(".") || $0 == ascii("-") }
}

/// Returns whether bytes are 2 to 39 hex digits and colons, of which at least two are colons.
private func isAddress6<Text: Collection>(_ bytes: Text) -> Bool where Text.Element == UInt8 {
    (2...39).contains(bytes.count) && bytes.filter { $0 == ascii(":") }.count >= 2
        && bytes.allSatisfy { $0 == ascii(":") || hexDigit($0) != nil }
}

/// Returns whether a text is a name or an address, IPv6 without brackets.
func isHost(_ text: String) -> Bool { isHostName(text.utf8) || isAddress6(text.utf8) }

/// Returns whether a host is this machine; to any other, plain MQTT has to be allowed explicitly.
public func isLoopback(_ host: String) -> Bool {
    if sameText(host, "localhost") || sameText(host, "::1") { return true }
    let words = host.utf8.split(separator: ascii("."), omittingEmptySubsequences: false).map(Bytes.init)
    return words.count == 4 && words[0] == Bytes("127".utf8)
        && words.allSatisfy { word in
            (1...3).contains(word.count) && word.allSatisfy(isDigit) && (word.count == 1 || word[0] != ascii("0"))
                && decimal(word) <= 255
        }
}

/// Returns the number that a few decimal digits write.
private func decimal<Text: Sequence>(_ digits: Text) -> Int where Text.Element == UInt8 {
    digits.reduce(0) { 10 * $0 + Int($1 - ascii("0")) }
}

/// Returns text with the letters A to Z small.
private func lowered(_ bytes: Bytes) -> String {
    String(decoding: bytes.map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 }, as: UTF8.self)
}

/// Where a broker is and who asks.
public struct BrokerUrl: Sendable, CustomStringConvertible {
    /// A name or an address, IPv6 without brackets.
    public let host: String
    public let port: Int
    /// Speak TLS (mqtts, wss).
    public let tls: Bool
    /// Name for the broker; "" is none.
    public let user: String
    /// It goes with `user`.
    public let password: String
    /// MQTT goes through a WebSocket (ws, wss), for networks that let nothing else pass.
    public let websocket: Bool

    /// `HOST:PORT`, an IPv6 host in brackets.
    public var address: String { host.utf8.contains(ascii(":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// The URL without credentials.
    public var description: String { "\(websocket ? "ws" : "mqtt")\(tls ? "s" : "")://\(address)" }

    /// Reads `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, `mqtts://...`, or `ws://...` and `wss://...`.
    ///
    /// - Parameter allowPlaintext: take one without TLS to another machine, where anyone on the way can read and change what
    ///   is sent.
    /// - Throws: ``BrokerUrlError`` for anything else.
    public init(parsing text: String, allowPlaintext: Bool = false) throws {
        var rest = Bytes(text.utf8)[...]
        guard let scheme = Self.takeScheme(&rest), let usual = ports[scheme], let credentials = Self.takeCredentials(&rest),
            let host = Self.takeHost(&rest), let port = Self.takePort(&rest, usual),
            rest.isEmpty || rest.elementsEqual("/".utf8) || (scheme.hasPrefix("ws") && rest.elementsEqual("/mqtt".utf8))
        else {
            throw BrokerUrlError(
                "the broker's URL cannot be read; expected mqtt://HOST:PORT or mqtts://HOST:PORT (wss://HOST:PORT through a "
                    + "WebSocket), before the host perhaps USER@ or USER:PASSWORD@ with %40 for @, %3A for :, %2F for / and %25 for %")
        }
        guard (1...portLimit).contains(port) else {
            throw BrokerUrlError("the port in the broker's URL is out of range, expected 1 to \(portLimit)")
        }
        let parts = credentials.split(separator: ascii(":"), maxSplits: 1, omittingEmptySubsequences: false)
        user = try Self.decoded(Bytes(parts[0]), "user")
        password = try Self.decoded(parts.count > 1 ? Bytes(parts[1]) : [], "password")
        guard !user.isEmpty || password.isEmpty else {
            throw BrokerUrlError("the broker's URL has a password and no user; expected USER:PASSWORD@ before the host")
        }
        (self.host, self.port, tls, websocket) = (lowered(host), port, scheme.hasSuffix("s") && scheme != "ws", scheme.hasPrefix("ws"))
        guard tls || allowPlaintext || isLoopback(self.host) else {
            throw BrokerUrlError(
                "broker \(self.host) is another machine and \(scheme):// is not encrypted; use \(websocket ? "wss" : "mqtts")://, or "
                    + "allow plain text on a network that you trust")
        }
    }

    private static func takeScheme(_ rest: inout ArraySlice<UInt8>) -> String? {
        let letters = rest.prefix { isLetterOrDigit($0) }
        let after = rest[letters.endIndex...]
        guard after.starts(with: "://".utf8) else { return nil }
        rest = after.dropFirst(3)
        return lowered(Bytes(letters))
    }

    /// Returns what stands before the `@`, nothing where there is none; nil where a character may not stand in it.
    private static func takeCredentials(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard let at = rest.firstIndex(of: ascii("@")) else { return [] }
        let credentials = rest[..<at]
        guard !credentials.contains(where: Bytes(" /?#[]".utf8).contains) else { return nil }
        rest = rest[(at + 1)...]
        return credentials
    }

    private static func takeHost(_ rest: inout ArraySlice<UInt8>) -> Bytes? {
        if rest.first == ascii("[") {
            guard let end = rest.firstIndex(of: ascii("]")) else { return nil }
            let host = rest[(rest.startIndex + 1)..<end]
            rest = rest[(end + 1)...]
            return isAddress6(host) ? Bytes(host) : nil
        }
        let host = rest.prefix { $0 != ascii(":") && $0 != ascii("/") }
        rest = rest[host.endIndex...]
        return isHostName(host) ? Bytes(host) : nil
    }

    /// Returns the port, the usual one where none is written; nil where none can be read.
    private static func takePort(_ rest: inout ArraySlice<UInt8>, _ usual: Int) -> Int? {
        guard rest.first == ascii(":") else { return usual }
        let digits = rest.dropFirst().prefix { isDigit($0) }
        rest = rest[digits.endIndex...]
        return (1...5).contains(digits.count) ? decimal(digits) : nil
    }

    private static func decoded(_ text: Bytes, _ name: String) throws -> String {
        guard let bytes = unescaped(text), let decoded = utf8Text(bytes), plain(decoded, credentialBytes) else {
            throw BrokerUrlError(
                "the \(name) in the broker's URL cannot be used; expected at most \(credentialBytes) bytes of plain UTF-8, a % written "
                    + "as %25")
        }
        return decoded
    }

    /// Returns text with each escape as its byte; nil where a `%` begins none.
    private static func unescaped(_ text: Bytes) -> Bytes? {
        var bytes = Bytes()
        var rest = text[...]
        while let byte = rest.popFirst() {
            if byte != ascii("%") {
                bytes.append(byte)
            } else if let high = rest.popFirst().flatMap(hexDigit), let low = rest.popFirst().flatMap(hexDigit) {
                bytes.append(high << 4 | low)
            } else {
                return nil
            }
        }
        return bytes
    }
}
