package org.edgeexperts.wire.secure

import kotlin.math.ceil
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.SecureException

/**
 * How class sums become integers: a device's C counts, then its [C, d] sums, label by label. A value v goes as v / s,
 * rounded half to even.
 *
 * @param step s, a power of two.
 * @param examples M, that those of one device count at most: what has more is scaled to it, counts and sums alike.
 */
public class ClassTerms(step: Float, examples: Float) {
    private val step = step.toDouble()

    private val examples = examples.toDouble()

    /**
     * Returns what a device says, [C (d + 1)]; zeros where it has no example with a label.
     *
     * @param sums of its data.
     * @param shape of the bank.
     * @throws SecureException for NaN or infinity, counts below 0, or those of another shape.
     */
    public fun integers(sums: ClassSums?, shape: BankShape): IntArray {
        if (sums == null) return IntArray(shape.headSize)
        val values = sums.counts + sums.sums
        if (sums.counts.size.toLong() != shape.labels || values.size != shape.headSize) {
            throw SecureException(
                "class sums of ${sums.counts.size} labels with ${values.size} values, expected ${shape.headSize}",
            )
        }
        if (values.any { it.isNaN() || it.isInfinite() } || sums.counts.any { it < 0 }) {
            throw SecureException("class sums that are not finite, or of less than no examples")
        }
        val total = sums.counts.sumOf { it.toDouble() }
        val factor = if (total <= examples) 1.0 else examples / total
        val limit = ceil(examples / step)
        return IntArray(values.size) { Math.rint(values[it] * factor / step).coerceIn(-limit, limit).toInt() }
    }
}
