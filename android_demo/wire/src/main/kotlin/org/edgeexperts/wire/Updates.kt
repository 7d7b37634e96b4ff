/**
 * Updates of a block: an earlier block of the same shape and an int8 difference make the newer one. SPEC.md, "Updates".
 *
 * Two roundings to float32, one of scale times byte and one of base plus product, so that every language makes the same
 * bytes; a fused multiply-add would make others.
 */
package org.edgeexperts.wire

/** Returns the bytes of an update of a block of so many [values]. */
public fun updateBytes(values: Int): Long = encodedSize(values.toLong(), Codec.INT8_VALUE)

/**
 * Returns the block that [update] makes of [base].
 *
 * @throws WireException WRONG_SIZE or MALFORMED of the update, or NOT_FINITE of its products or of a sum.
 */
public fun applyUpdate(base: FloatArray, update: ByteArray): FloatArray {
    val products = decodeValues(update, base.size.toLong(), Codec.INT8_VALUE)
    val values = FloatArray(base.size) { base[it] + products[it] }
    checkFinite(values)
    return values
}
