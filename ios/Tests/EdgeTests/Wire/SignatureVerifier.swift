/// Whose Ed25519 the tests take: Apple's where it is, else OpenSSL's, which is asked at run time: no test needs its headers.
import EdgeWire

#if canImport(CryptoKit)
let signatureVerifier: SignatureVerifier? = CryptoKitVerifier()
#else
import Glibc

let signatureVerifier: SignatureVerifier? = Libcrypto()

/// EVP_DigestVerify of libcrypto 3.
private struct Libcrypto: SignatureVerifier, @unchecked Sendable {
    private typealias NewKey = @convention(c) (Int32, OpaquePointer?, UnsafePointer<UInt8>, Int) -> OpaquePointer?
    private typealias NewContext = @convention(c) () -> OpaquePointer?
    private typealias Begin = @convention(c) (
        OpaquePointer?, OpaquePointer?, OpaquePointer?, OpaquePointer?, OpaquePointer?
    ) -> Int32
    private typealias Verify = @convention(c) (
        OpaquePointer?, UnsafePointer<UInt8>, Int, UnsafePointer<UInt8>, Int
    ) -> Int32
    private typealias Free = @convention(c) (OpaquePointer?) -> Void
    private static let ed25519: Int32 = 1087 // NID_ED25519

    private let newKey: NewKey
    private let newContext: NewContext
    private let begin: Begin
    private let verify: Verify
    private let freeKey: Free
    private let freeContext: Free

    /// nil where there is no such library.
    init?() {
        guard let library = dlopen("libcrypto.so.3", RTLD_NOW) else { return nil }
        func function<Type>(_ name: String, _: Type.Type) -> Type? {
            dlsym(library, name).map { unsafeBitCast($0, to: Type.self) }
        }
        guard let newKey = function("EVP_PKEY_new_raw_public_key", NewKey.self),
            let newContext = function("EVP_MD_CTX_new", NewContext.self),
            let begin = function("EVP_DigestVerifyInit", Begin.self),
            let verify = function("EVP_DigestVerify", Verify.self), let freeKey = function("EVP_PKEY_free", Free.self),
            let freeContext = function("EVP_MD_CTX_free", Free.self)
        else { return nil }
        (self.newKey, self.newContext, self.begin) = (newKey, newContext, begin)
        (self.verify, self.freeKey, self.freeContext) = (verify, freeKey, freeContext)
    }

    func isValid(_ signature: Bytes, of text: Bytes, by key: Bytes) -> Bool {
        guard let known = newKey(Self.ed25519, nil, key, key.count) else { return false }
        defer { freeKey(known) }
        let context = newContext()
        defer { freeContext(context) }
        return begin(context, nil, nil, nil, known) == 1
            && verify(context, signature, signature.count, text, text.count) == 1
    }
}
#endif
