/**
 * How hard, and towards what, a device's router is pushed: the arithmetic of the heterogeneity-aware auxiliary loss, as in
 * edge_runtime/training/heterogeneity.py. Axes: S experts that the device holds at a layer, M experts of the layer; top-k gates.
 */
package org.edgeexperts.core

import kotlin.math.ln

private const val KAPPA = 0.1
private const val RATIO_LIMIT = 4.0
private const val EPSILON = 1e-6
private const val WEIGHT_LIMIT = 0.1
private val LN_2 = ln(2.0)

/**
 * Returns q [S], positive, sum 1: more for held experts that the federation uses less than the mean.
 *
 * rho_i = clip((mean + eps) / (u_i + eps), 1/4, 4);  q_i = kappa/S + (1 - kappa) * rho_i / sum rho.
 *
 * @param useHeld u of the held experts, [S].
 * @param useMean mean of u over the layer.
 */
internal fun balanceTarget(useHeld: FloatArray, useMean: Double): FloatArray {
    val ratios = useHeld.map { ((useMean + EPSILON) / (it + EPSILON)).coerceIn(1 / RATIO_LIMIT, RATIO_LIMIT) }
    val sum = ratios.sum()
    return FloatArray(ratios.size) { (KAPPA / ratios.size + (1 - KAPPA) * ratios[it] / sum).toFloat() }
}

/**
 * Returns H_c in [0, 1]: the Jensen-Shannon divergence of F and u on the held experts, in bits. Both are normalized first;
 * with no mass on either side there is nothing to compare, and it is 0.
 */
internal fun divergence(shares: FloatArray, useHeld: FloatArray): Double {
    val left = normalized(shares) ?: return 0.0
    val right = normalized(useHeld) ?: return 0.0
    val middle = left.indices.map { (left[it] + right[it]) / 2 }
    return ((relative(left, middle) + relative(right, middle)) / 2).coerceIn(0.0, 1.0)
}

private fun normalized(values: FloatArray): List<Double>? {
    val sum = values.sumOf(Float::toDouble)
    return if (sum <= 0) null else values.map { it / sum }
}

private fun relative(p: List<Double>, q: List<Double>): Double =
    p.indices.sumOf { if (p[it] > 0) p[it] * (ln(p[it] / q[it]) / LN_2) else 0.0 }

/**
 * Returns lambda_c = clip(pressure * (1 - H_c) * held/M, 0, 0.1): an unusual or small device is pushed less. One held
 * expert leaves the router no choice: 0.
 */
internal fun balanceWeight(pressure: Double, heterogeneity: Double, held: Int, experts: Int): Double =
    if (held <= 1) 0.0 else (pressure * (1 - heterogeneity) * held / experts).coerceIn(0.0, WEIGHT_LIMIT)
