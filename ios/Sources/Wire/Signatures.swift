/// What a gateway and the maker of a package sign: Ed25519 (RFC 8032) over bytes as they are sent. SPEC.md, "Signatures".

/// Tells whether a signature is a key's.
///
/// On Apple's systems ``CryptoKitVerifier``. Elsewhere a program brings its own: signatures are no place for home-made
/// arithmetic, and swift-crypto may be out of a build's reach.
public protocol SignatureVerifier: Sendable {
    /// - Parameters:
    ///   - signature: 64 bytes, or others, which are no signature.
    ///   - text: what it should be of.
    ///   - key: the public key, 32 bytes, or others, which are no key.
    func isValid(_ signature: Bytes, of text: Bytes, by key: Bytes) -> Bool
}

#if canImport(CryptoKit)
import CryptoKit
import Foundation

/// Apple's Ed25519.
public struct CryptoKitVerifier: SignatureVerifier {
    public init() {}

    public func isValid(_ signature: Bytes, of text: Bytes, by key: Bytes) -> Bool {
        guard let known = try? Curve25519.Signing.PublicKey(rawRepresentation: key) else { return false }
        return known.isValidSignature(signature, for: text)
    }
}
#endif

/// Beside manifest.json in a signed package.
public let signatureFile = "manifest.sig"

/// Bytes of a signature.
public let signatureBytes = 64

private let serialTag: Bytes = [0xF1, 1] // field 30, fixed64
private let signatureTag: Bytes = [0xFA, 1, UInt8(signatureBytes)] // field 31
private let messageDomain = Bytes("edge-experts message 1\0".utf8)
private let packageDomain = Bytes("edge-experts package 1\0".utf8)

/// Returns the serial of a signed payload.
///
/// - Parameters:
///   - payload: as it came.
///   - topic: the whole topic that it came on: a plan for one device is none for another.
///   - key: the gateway's public key, 32 bytes.
/// - Throws: ``WireError`` BAD_SIGNATURE when it is not signed, or not by this key for this topic.
public func verifyMessage(_ payload: Bytes, on topic: String, by key: Bytes, _ verifier: SignatureVerifier) throws -> UInt64 {
    let end = payload.count - signatureBytes
    let tag = end - signatureTag.count
    let serial = tag - 8
    guard serial >= serialTag.count, payload[tag..<end].elementsEqual(signatureTag),
        payload[serial - serialTag.count..<serial].elementsEqual(serialTag)
    else { throw WireError(.badSignature, "a message without a signature") }
    let text = messageDomain + Bytes(topic.utf8) + [0] + payload[..<tag]
    guard verifier.isValid(Bytes(payload[end...]), of: text, by: key) else {
        throw WireError(.badSignature, "a message that the federation's gateway did not sign for this topic")
    }
    return number(payload, at: serial)
}

/// Checks a package's signature.
///
/// - Parameters:
///   - manifest: the bytes of manifest.json.
///   - signature: those of manifest.sig.
///   - key: the public key of the package's maker, 32 bytes.
/// - Throws: ``PackageError`` when it is another's, or none.
public func verifyManifest(
    _ manifest: Bytes, _ signature: Bytes, by key: Bytes, _ verifier: SignatureVerifier
) throws {
    guard signature.count == signatureBytes else {
        throw PackageError("a package's signature has \(signature.count) bytes, expected \(signatureBytes)")
    }
    guard verifier.isValid(signature, of: packageDomain + manifest, by: key) else {
        throw PackageError(
            "the package's manifest is not signed by \(hex(key).prefix(12))..., whose packages this device takes; "
                + "get the package from its maker, or a new enrolment")
    }
}
