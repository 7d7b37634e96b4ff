/**
 * Secrets of 32 bytes in shares of 32 bytes: t of them give it back, fewer say nothing (Shamir, CACM 22(11), 1979).
 *
 * Numbers of the field modulo 2^256 - 189, the largest prime of 256 bits; as bytes they are little-endian. The share of
 * holder x (from 1) is the value at x of a polynomial of degree t - 1 whose value at 0 is the secret. Only gateways join
 * shares. Rules: edge_runtime/wire/SPEC.md, "Sums under masks".
 */
package org.edgeexperts.wire.secure

import java.math.BigInteger
import org.edgeexperts.wire.SecureException

internal const val ELEMENT_BYTES = 32

private val PRIME: BigInteger = BigInteger.ONE.shiftLeft(256) - BigInteger.valueOf(189)

/** Returns 32 bytes as a number of the field: of random ones all but 189 of 2^256 stay as they are. */
internal fun element(data: ByteArray): ByteArray = bytesOf(numberOf(data).mod(PRIME))

/**
 * Returns the share of each holder.
 *
 * @param secret an element.
 * @param coefficients t - 1 of them, 32 random bytes each, that nobody else knows.
 * @param holders their numbers, 1 or more, unique.
 * @throws SecureException for a secret that is no element, or holders that are none.
 */
public fun split(secret: ByteArray, coefficients: List<ByteArray>, holders: List<Int>): List<ByteArray> {
    val constant = numberOf(secret)
    if (secret.size != ELEMENT_BYTES || constant >= PRIME) {
        throw SecureException("${secret.size} bytes are no number of the field, expected 32 below 2^256 - 189")
    }
    if (holders.toSet().size != holders.size || holders.any { it < 1 }) {
        throw SecureException("holders are numbered from 1, each once, got ${holders.sorted().take(8)}")
    }
    val powers = listOf(constant) + coefficients.map { numberOf(it).mod(PRIME) }
    return holders.map { holder ->
        val place = BigInteger.valueOf(holder.toLong())
        bytesOf(powers.foldRight(BigInteger.ZERO) { factor, value -> (value * place + factor).mod(PRIME) })
    }
}

private fun numberOf(data: ByteArray) = BigInteger(1, data.reversedArray())

private fun bytesOf(value: BigInteger): ByteArray {
    val big = value.toByteArray() // big-endian, perhaps with a zero in front
    return ByteArray(ELEMENT_BYTES) { place -> big.getOrElse(big.size - 1 - place) { 0 } }
}
