/**
 * The start of a classifier's head: class means of frozen features (SPEC.md, "Start of a head"). Axes: C labels, d width.
 */
package org.edgeexperts.wire

import kotlin.math.sqrt

/** Bias of a label without examples, in logit scales: every other logit is above -2 of them. */
private const val ABSENT_LABEL = -5.0
private const val LEAST_LENGTH = 1e-12

/**
 * Sums of frozen features by label.
 *
 * @property counts [C], examples of each label.
 * @property sums [C, d].
 */
public class ClassSums(public val counts: FloatArray, public val sums: FloatArray) {
    private val width = if (counts.isEmpty()) 0 else sums.size / counts.size

    /** Returns the bytes of a ClassStatistics. */
    public fun message(device: String, federationDigest: ByteArray): ByteArray = ClassStatistics.newBuilder()
        .setWireVersion(WIRE_VERSION).setDevice(device).setFederationDigest(federationDigest.asField()).setWidth(width)
        .setCounts(encodeValues(counts).asField()).setSums(encodeValues(sums).asField()).build().toByteArray()

    /**
     * Returns the head's block [C * (d + 1)] and the mean's [d], computed in float64.
     *
     * Row c is the mean of label c less the mean of all, made 1 long; a row without direction is 0. A label without examples
     * gets a row of 0 and a bias below any logit.
     *
     * @throws BankException when there is no example at all.
     */
    public fun classMeanHead(logitScale: Double): Map<ExpertId, FloatArray> {
        val labels = counts.indices
        val examples = counts.sumOf(Float::toDouble)
        if (!(examples > 0)) throw BankException("class sums of 0 examples; a head starts from at least one")
        val mean = DoubleArray(width) { at -> labels.sumOf { sums[it * width + at].toDouble() } / examples }
        val head = FloatArray(counts.size * (width + 1))
        for (label in labels) {
            if (counts[label] > 0) {
                row(label, mean).forEachIndexed { at, value -> head[label * width + at] = value.toFloat() }
            } else {
                head[counts.size * width + label] = (ABSENT_LABEL * logitScale).toFloat()
            }
        }
        return mapOf(HEAD to head, MEAN to FloatArray(width) { mean[it].toFloat() })
    }

    private fun row(label: Int, mean: DoubleArray): DoubleArray {
        val row = DoubleArray(width) { sums[label * width + it] / counts[label].toDouble() - mean[it] }
        val length = sqrt(row.sumOf { it * it })
        return if (length > LEAST_LENGTH) DoubleArray(width) { row[it] / length } else DoubleArray(width)
    }
}
