/**
 * What a gateway and the maker of a package sign: Ed25519 (RFC 8032) over bytes as they are sent. Rules:
 * edge_runtime/wire/SPEC.md, "Signatures".
 */
package org.edgeexperts.wire

import com.google.crypto.tink.subtle.Ed25519Verify
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.GeneralSecurityException

/** Beside manifest.json in a signed package. */
public const val SIGNATURE: String = "manifest.sig"

/** Bytes of a signature. */
public const val SIGNATURE_BYTES: Int = 64

private const val SERIAL_BYTES = 8
private val SERIAL_TAG = byteArrayOf(0xF1.toByte(), 1) // field 30, fixed64
private val SIGNATURE_TAG = byteArrayOf(0xFA.toByte(), 1, SIGNATURE_BYTES.toByte()) // field 31
private val MESSAGE_DOMAIN = "edge-experts message 1\u0000".toByteArray()
private val PACKAGE_DOMAIN = "edge-experts package 1\u0000".toByteArray()

/**
 * Returns the serial of a signed payload, an unsigned number.
 *
 * @param public the gateway's public key, 32 bytes.
 * @param topic the whole topic that it came on: a plan for one device is none for another.
 * @param payload as it came.
 * @throws WireException BAD_SIGNATURE when it is not signed, or not by this key for this topic.
 */
public fun verifyMessage(public: ByteArray, topic: String, payload: ByteArray): Long {
    val end = payload.size - SIGNATURE_BYTES
    val tag = end - SIGNATURE_TAG.size
    val start = tag - SERIAL_BYTES - SERIAL_TAG.size
    if (start < 0 || !payload.has(SIGNATURE_TAG, tag) || !payload.has(SERIAL_TAG, start)) {
        throw WireException(Code.BAD_SIGNATURE, "a message without a signature")
    }
    val text = MESSAGE_DOMAIN + topic.toByteArray() + 0 + payload.copyOf(tag)
    if (!signed(public, payload.copyOfRange(end, payload.size), text)) {
        throw WireException(Code.BAD_SIGNATURE, "a message that the federation's gateway did not sign for this topic")
    }
    return ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN).getLong(start + SERIAL_TAG.size)
}

/**
 * Checks a package's signature.
 *
 * @param public the public key of the package's maker, 32 bytes.
 * @param manifest the bytes of manifest.json.
 * @param signature those of manifest.sig.
 * @throws PackageException when it is another's, or none.
 */
public fun verifyManifest(public: ByteArray, manifest: ByteArray, signature: ByteArray) {
    if (signature.size != SIGNATURE_BYTES) {
        throw PackageException("a package's signature has ${signature.size} bytes, expected $SIGNATURE_BYTES")
    }
    if (!signed(public, signature, PACKAGE_DOMAIN + manifest)) {
        throw PackageException(
            "the package's manifest is not signed by ${hex(public).take(12)}…, whose packages this device takes; " +
                "get the package from its maker, or a new enrolment",
        )
    }
}

private fun ByteArray.has(tag: ByteArray, place: Int) = tag.indices.all { this[place + it] == tag[it] }

private fun signed(public: ByteArray, signature: ByteArray, text: ByteArray): Boolean = try {
    Ed25519Verify(public).verify(signature, text)
    true
} catch (_: GeneralSecurityException) {
    false
} catch (_: IllegalArgumentException) { // a public key of another length
    false
}
