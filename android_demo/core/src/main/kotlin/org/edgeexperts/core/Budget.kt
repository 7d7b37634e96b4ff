/**
 * What a device may spend, and the largest tier that fits into it: checked at export, and here again.
 *
 * Memory in MiB (2^20 bytes), storage in MB (10^6 bytes), traffic in bytes a round, time in seconds a round; 0 = no limit.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Cost
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.Tier
import java.util.Locale

/** Limits of one device; the profile's, unless the user gave others. */
public data class Budget(
    public val memoryMib: Double = 0.0,
    public val storageMb: Double = 0.0,
    public val bytesUp: Long = 0,
    public val bytesDown: Long = 0,
    public val roundSeconds: Double = 0.0,
) {
    public companion object {
        /** Reads the table `budget` of a manifest's profile; what it does not say is no limit. */
        public fun fromProfile(profile: Map<String, Any?>): Budget {
            val budget = profile["budget"] as? Map<*, *> ?: emptyMap<String, Any?>()
            fun number(name: String) = budget[name] as? Number ?: 0
            return Budget(
                memoryMib = number("memory_mib").toDouble(),
                storageMb = number("storage_mb").toDouble(),
                bytesUp = number("bytes_up").toLong(),
                bytesDown = number("bytes_down").toLong(),
                roundSeconds = number("round_seconds").toDouble(),
            )
        }
    }
}

/**
 * Returns the first tier (they are listed largest first) whose costs fit.
 *
 * @throws BudgetException with the numbers of the smallest tier when none does.
 */
public fun chooseTier(manifest: Manifest, budget: Budget): Tier =
    manifest.tiers.find { excess(it, budget).isEmpty() } ?: throw BudgetException(
        "no tier of this package fits this device: its smallest needs " +
            excess(manifest.tiers.last(), budget).joinToString("; ") + "; raise the budget or export smaller",
    )

/** Returns what a tier needs beyond the budget, one phrase for each limit. */
public fun excess(tier: Tier, budget: Budget): List<String> {
    // The planner cuts a plan to the bytes that a device offers; only a first block that does not fit is too much, and
    // a download goes on in the next round.
    val firstBlock = costOf(tier) { it.bytesUp.toDouble() } / tier.trainedSlots
    return listOfNotNull(
        over("MiB of memory", costOf(tier, Cost::memoryMib), budget.memoryMib),
        over("MB of storage", costOf(tier, Cost::storageMb), budget.storageMb),
        over("bytes a round of upload", firstBlock, budget.bytesUp.toDouble()),
    )
}

private fun over(what: String, cost: Double, limit: Double): String? =
    if (limit > 0 && cost > limit) "%,.0f %s, the budget is %,.0f".format(Locale.ROOT, cost, what, limit) else null

/** Returns a cost of a tier: measured, or predicted where nothing was measured. */
internal fun costOf(tier: Tier, cost: (Cost) -> Double): Double =
    cost(tier.measured).takeIf { it != 0.0 } ?: cost(tier.predicted)
