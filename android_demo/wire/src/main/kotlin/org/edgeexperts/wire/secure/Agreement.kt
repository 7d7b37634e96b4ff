/**
 * Keys of two devices and what follows from both: X25519 (RFC 7748) and HKDF with SHA-256 (RFC 5869).
 *
 * A private key is 32 bytes of any value, a number of the field of shares; X25519 itself sets the bits that it needs.
 */
package org.edgeexperts.wire.secure

import com.google.crypto.tink.subtle.Hkdf
import com.google.crypto.tink.subtle.X25519
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.GeneralSecurityException
import java.security.InvalidKeyException
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.hex

internal const val KEY_BYTES = 32

private const val DOMAIN = "edge-experts secure 1 "

/** Returns the public key of a private one, 32 bytes each. */
public fun publicKey(private: ByteArray): ByteArray {
    if (private.size != KEY_BYTES) {
        throw SecureException("a private key of ${private.size} bytes, expected $KEY_BYTES")
    }
    return X25519.publicFromPrivate(private)
}

/**
 * Returns the 32 bytes that two devices have in common, each with its private and the other's public key.
 *
 * @throws SecureException for keys of another length, and a public key of small order, which would make them known to all.
 */
public fun agree(private: ByteArray, public: ByteArray): ByteArray {
    if (public.size != KEY_BYTES) {
        throw SecureException("a public key of ${public.size} bytes, expected $KEY_BYTES")
    }
    val secret = try {
        X25519.computeSharedSecret(private, public)
    } catch (error: InvalidKeyException) { // Tink has a list of such keys
        throw ofSmallOrder(public, error)
    }
    if (secret.all { it.toInt() == 0 }) throw ofSmallOrder(public, null)
    return secret
}

private fun ofSmallOrder(public: ByteArray, cause: Exception?) =
    SecureException("the public key ${hex(public).take(12)} is of small order", cause)

/** Returns 32 bytes that follow from a [secret]; [salt]: what they belong to, [info]: what they are for. */
internal fun derive(secret: ByteArray, salt: ByteArray, info: ByteArray): ByteArray = try {
    Hkdf.computeHkdf("HMACSHA256", secret, salt, info, KEY_BYTES)
} catch (error: GeneralSecurityException) {
    throw SecureException("this device has no HMAC with SHA-256", error)
}

/** Returns what bytes are derived for: [what] in words, [numbers] written as u32. */
internal fun info(what: String, vararg numbers: Int): ByteArray {
    val words = (DOMAIN + what).toByteArray()
    val buffer = ByteBuffer.allocate(words.size + 1 + 4 * numbers.size).order(ByteOrder.LITTLE_ENDIAN)
    buffer.put(words).put(0)
    numbers.forEach(buffer::putInt)
    return buffer.array()
}
