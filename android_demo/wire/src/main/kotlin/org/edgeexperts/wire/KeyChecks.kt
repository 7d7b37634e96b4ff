/** What a device's keys for masks must be: SPEC.md, "Rounds under masks", "Signed keys". */
package org.edgeexperts.wire

import com.google.protobuf.ByteString
import org.edgeexperts.wire.secure.KEY_BYTES
import org.edgeexperts.wire.secure.agree

internal fun checkMaskKeys(keys: MaskKeys) {
    checkName(keys.device, "device")
    digest(keys.planDigest, "plan digest")
    circles(keys.maskingList.map { it.circle.u32 }, "masking keys")
    val public = listOf(keys.sharing) + keys.maskingList.map { it.key }
    public.forEach(::checkPublic)
    need(public.toSet().size == public.size) { "one key is sent twice" }
    need(keys.certificate.isEmpty == keys.signature.isEmpty) {
        "a certificate and a signature go together; one of them is missing"
    }
    need(!keys.certificate.isEmpty || keys.round == 0L) { "a round, and no signature for it" }
    bounded(keys.certificate, CERTIFICATE_LIMIT, "a certificate")
    bounded(keys.signature, KEYS_SIGNATURE_LIMIT, "a signature")
}

internal fun bounded(bytes: ByteString, limit: Int, what: String) {
    if (bytes.size() > limit) throw WireException(Code.TOO_LARGE, "$what of ${bytes.size()} bytes, limit $limit")
}

private fun checkPublic(key: ByteString) {
    need(key.size() == KEY_BYTES) { "a public key has ${key.size()} bytes, expected $KEY_BYTES" }
    try {
        agree(ByteArray(KEY_BYTES), key.toByteArray())
    } catch (error: SecureException) {
        throw malformed(error.message.orEmpty(), error)
    }
}
