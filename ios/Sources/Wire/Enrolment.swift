/// Enrolment files: what a device needs to take part in a federation; rules: SPEC.md, "Enrolment".

/// Format of enrolment files that is read here; another is refused.
public let enrolmentFormat = 2

/// Bytes of an enrolment file that is read.
public let enrolmentLimit = 256 * 1024

private let portLimit = 0xFFFF

/// Where the gateway's broker is.
public struct GatewayAddress: Sendable {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    public let host: String
    public let port: Int
    public let tls: Bool
    /// Without TLS, take a host that is another machine: anyone on the way can read and change all.
    public let allowPlaintext: Bool
    /// MQTT goes through a WebSocket.
    public let websocket: Bool
}

/// One device's way into one federation. It may hold a private key or a password, and is as secret as they are.
public struct Enrolment: Sendable, CustomStringConvertible {
    /// Its id.
    public let device: String
    /// Second word of every topic.
    public let federation: String
    /// Hex; a package of another federation cannot take part.
    public let federationDigest: String
    /// Hex, of the package that the device should have; "" takes any of the federation.
    public let packageDigest: String
    public let gateway: GatewayAddress
    /// PEM of the authority that signed the broker's certificate; "" takes the system's.
    public let ca: String
    /// PEM of the device's certificate, "" is none; it goes with `key`.
    public let certificate: String
    /// PEM of its key in PKCS#8, not encrypted.
    public let key: String
    /// Name for the broker; "" is none.
    public let user: String
    /// It goes with `user`.
    public let password: String
    /// Hex of the Ed25519 key that the gateway signs with; "" takes what is not signed.
    public let gatewayKey: String
    /// Hex of the Ed25519 key that packages must be signed with; "" asks for no signature.
    public let packageKey: String

    /// What it is for, without secrets.
    public var description: String { "\(device) in \(federation) at \(gateway.host):\(gateway.port)" }

    /// Reads a file's bytes.
    ///
    /// - Parameter source: what they are, for the error.
    /// - Throws: ``EnrolmentError`` saying which key is wrong and how; never with a key or password.
    public init(reading data: Bytes, _ source: String = "the enrolment") throws {
        guard data.count <= enrolmentLimit else {
            throw EnrolmentError("\(source) has over \(enrolmentLimit) bytes; ask for the right file")
        }
        do {
            let tree = try Json.parse(data, source)
            if case .whole(let format)? = tree.named?["enrolment_format"], format != enrolmentFormat {
                throw EnrolmentError("enrolment format \(format) came, this software reads \(enrolmentFormat)")
            }
            for name in ["key", "password"] { // the general reader shows what it refuses
                guard let value = tree.named?[name] else { continue }
                guard case .text = value else { throw EnrolmentError("\(name) is no text") }
            }
            self = try JsonObject.read(tree, source, Enrolment.init)
            try check()
        } catch let error as PackageError {
            throw EnrolmentError(error.description)
        } catch let error as WireError {
            throw EnrolmentError("\(source): \(error.detail)")
        } catch let error as EnrolmentError {
            throw EnrolmentError("\(source): \(error)")
        }
    }

    private init(_ tree: JsonObject) throws {
        _ = try tree.whole("enrolment_format")
        device = try tree.text("device")
        federation = try tree.text("federation")
        federationDigest = try tree.text("federation_digest")
        packageDigest = try tree.text("package_digest")
        gateway = try tree.object("gateway", GatewayAddress.init)
        ca = try tree.text("ca", or: "")
        certificate = try tree.text("certificate", or: "")
        key = try tree.text("key", or: "")
        user = try tree.text("user", or: "")
        password = try tree.text("password", or: "")
        gatewayKey = try tree.text("gateway_key", or: "")
        packageKey = try tree.text("package_key", or: "")
    }

    private func check() throws {
        try checkName(device, "device")
        try checkName(federation, "federation")
        try demand(
            isHex(federationDigest, 64) && (packageDigest.isEmpty || isHex(packageDigest, 64)),
            "a digest is no SHA-256 in 64 lower-case hex digits")
        for (name, key) in [("gateway_key", gatewayKey), ("package_key", packageKey)] {
            try demand(key.isEmpty || isHex(key, 64), "\(name) is no public key in 64 lower-case hex digits")
        }
        try checkGateway()
        try checkIdentity()
    }

    private func checkGateway() throws {
        try demand(isHost(gateway.host), "gateway.host \(shown(gateway.host)) is no host name or address")
        try demand(
            gateway.tls || gateway.allowPlaintext || isLoopback(gateway.host),
            "\(gateway.host) is another machine and tls is false; use a broker with TLS, or set allow_plaintext on a network that you "
                + "trust")
        try demand(!(gateway.tls && gateway.allowPlaintext), "tls and allow_plaintext contradict each other")
        let bare = ca.isEmpty && certificate.isEmpty && key.isEmpty
        try demand(gateway.tls || bare, "certificates need tls, which is false")
    }

    private func checkIdentity() throws {
        try demand(
            certificate.isEmpty == key.isEmpty, "certificate and key go together; one of them is missing")
        try checkPem("ca", ca, "CERTIFICATE")
        try checkPem("certificate", certificate, "CERTIFICATE")
        try checkPem("key", key, "PRIVATE KEY")
        try demand(!user.isEmpty || password.isEmpty, "a password came without a user")
        for (name, text) in [("user", user), ("password", password)] {
            try demand(plain(text, credentialBytes), "\(name) is over \(credentialBytes) bytes or not plain")
        }
    }
}

extension GatewayAddress {
    fileprivate init(_ tree: JsonObject) throws {
        port = try tree.whole("port")
        try demand((1...portLimit).contains(port), "gateway.port \(port), expected 1 to \(portLimit)")
        host = try tree.text("host")
        tls = try tree.truth("tls")
        allowPlaintext = try tree.truth("allow_plaintext", or: false)
        websocket = try tree.truth("websocket", or: false)
    }
}

private func demand(_ condition: Bool, _ detail: @autoclosure () -> String) throws {
    if !condition { throw EnrolmentError(detail()) }
}

private func checkPem(_ name: String, _ text: String, _ kind: String) throws {
    let ends = ["-----BEGIN \(kind)-----", "-----END \(kind)-----"]
    try demand(text.isEmpty || ends.allSatisfy { contains(text, $0) }, "\(name) is no PEM text (\(ends[0]) ...)")
}

/// Returns whether the bytes of `part` stand somewhere in `text`.
private func contains(_ text: String, _ part: String) -> Bool {
    var rest = Bytes(text.utf8)[...]
    while rest.count >= part.utf8.count {
        if rest.starts(with: part.utf8) { return true }
        rest.removeFirst()
    }
    return false
}
