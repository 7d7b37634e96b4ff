/**
 * How fast a device steps at each depth: measured where it trained, else what export predicted, scaled by that; as
 * edge_runtime/training/pace.py.
 *
 * A gateway plans by these times, so a depth that was never tried needs one, too: a device that is three times as slow as its
 * profile at one depth is taken to be so at the others.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Tier
import kotlin.math.abs

/**
 * What a step takes; 0 where it is not known.
 *
 * @property stepMs median, with the prefixes of its texts at hand.
 * @property trunkMs more, while they are not.
 */
internal data class Pace(val stepMs: Double, val trunkMs: Double = 0.0)

/**
 * Returns the depths for which a device has a tier with all the slots that it offers, ascending, and their paces.
 *
 * @param tiers that the device may use.
 * @param largest that it offers for plans.
 * @param paces measured on the device, by the tier's method.
 */
internal fun reaches(tiers: List<Tier>, largest: Tier, paces: Map<String, Pace>): Map<Int, Pace> =
    tiers.map { it.layers.toInt() }.distinct().sorted()
        .mapNotNull { layers -> best(tiers, largest, layers)?.let { layers to paceOf(it, tiers, paces) } }.toMap()

/** Returns the tier in which a plan of this depth, with an expert for each slot, is trained, if it is just so deep. */
private fun best(tiers: List<Tier>, largest: Tier, layers: Int): Tier? = try {
    fitting(tiers, largest, Need(largest.trainedSlots.toInt(), layers)).first().takeIf { it.layers == layers.toLong() }
} catch (_: PlanException) {
    null
}

/** Returns a tier's pace: measured, or predicted times what the nearest measured tier took of its prediction. */
private fun paceOf(tier: Tier, tiers: List<Tier>, paces: Map<String, Pace>): Pace {
    paces[tier.method]?.let { return it }
    val expected = expected(tier)
    val nearest = tiers.filter { it.method in paces && expected(it).stepMs > 0 }
        .minWithOrNull(compareBy({ abs(it.layers - tier.layers) }, { abs(it.rows - tier.rows) })) ?: return expected
    val (measured, foreseen) = paces.getValue(nearest.method) to expected(nearest)
    val factor = measured.stepMs / foreseen.stepMs
    val trunk = if (foreseen.trunkMs > 0) measured.trunkMs / foreseen.trunkMs else 0.0
    return Pace(expected.stepMs * factor, expected.trunkMs * (if (trunk > 0) trunk else factor))
}

/** Returns what export told of a tier: predicted, or as it measured a step that is too quick for a prediction. */
private fun expected(tier: Tier): Pace = Pace(
    tier.predicted.stepMs.takeIf { it > 0 } ?: tier.measured.stepMs,
    tier.predicted.trunkMs.takeIf { it > 0 } ?: tier.measured.trunkMs,
)

/** Steps that one process made in one tier. */
internal class Stretch {
    private val bareMs = ArrayList<Double>()
    private var texts = 0

    /** Counts a step of [count] texts that took so long without its trunk. */
    fun add(ms: Double, count: Int) {
        bareMs += ms
        texts += count
    }

    /** Returns the pace of these steps, where the trunk takes [textMs] a text; null of none. */
    fun pace(textMs: Double): Pace? = if (bareMs.isEmpty()) null else Pace(median(bareMs), textMs * texts / bareMs.size)
}
