/**
 * The label prior: a model's probabilities, moved towards the labels that one device has (SPEC.md, "Label prior"). Axes: C labels.
 */
package org.edgeexperts.wire

import kotlin.math.sqrt

/** Powers of the ratio of the device's label frequencies to uniform ones: off, half, full. */
public val PRIOR_STRENGTHS: List<Double> = listOf(0.0, 0.5, 1.0)

/** Examples that every label is given beside its own, so that a label without any can still be predicted. */
private const val SMOOTHING = 1.0

/**
 * Returns what the probability of each label is multiplied by, [C]: (n_l + 1) to the power of [strength].
 *
 * @param counts [C], examples of each label on this device.
 * @param strength one of [PRIOR_STRENGTHS].
 * @throws FederationException for another strength, or counts that are negative or not finite.
 */
public fun labelWeights(counts: FloatArray, strength: Double): DoubleArray {
    if (strength !in PRIOR_STRENGTHS) {
        throw FederationException("label prior of strength $strength, expected one of ${PRIOR_STRENGTHS.joinToString()}")
    }
    if (!counts.all { it >= 0 && it.isFinite() }) {
        throw FederationException("label counts are negative or not finite; count the labels again")
    }
    return DoubleArray(counts.size) { label ->
        val smoothed = counts[label].toDouble() + SMOOTHING
        when (strength) {
            1.0 -> smoothed
            0.0 -> 1.0
            else -> sqrt(smoothed)
        }
    }
}

/**
 * Returns probabilities [C] under a label prior: p_l w_l / sum p_k w_k. Where all weights are alike every bit stays.
 *
 * @throws FederationException when there are not as many weights as probabilities.
 */
public fun withPrior(probabilities: FloatArray, weights: DoubleArray): FloatArray {
    if (weights.size != probabilities.size) {
        throw FederationException("a label prior of ${weights.size} labels for ${probabilities.size} probabilities")
    }
    if (weights.all { it == weights[0] }) return probabilities
    val total = weights.indices.sumOf { probabilities[it].toDouble() * weights[it] }
    return FloatArray(weights.size) { (probabilities[it].toDouble() * weights[it] / total).toFloat() }
}
