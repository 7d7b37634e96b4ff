/**
 * Which tier to train in: what a plan needs, what the device may spend, and what it feels; as edge_runtime/training/tiers.py.
 *
 * A plan can be trained in any tier with a trained slot for each of its experts and as many layers as it goes down. The best has
 * no more layers than that needs, since a step costs by the layers; then it is the one nearest to the model that is merged
 * (most experts held, longest texts, most rows), and of those the one with the fewest slots to spare. Memory and heat
 * decide how far down from the best one has to go.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Cost
import org.edgeexperts.wire.Tier

private const val HOT_C = 80.0 // from here on a device steps down; boards slow down by themselves at about 85
private const val COOL_C = 70.0 // below, a device may step up again; between the two it stays where it is

/** MiB that are left to others: below it a system begins to end processes. */
internal const val RESERVE_MIB = 64.0

/**
 * What a device feels; null where it cannot tell.
 *
 * @property roomMib resident memory that this process could have, if others kept what they have.
 * @property celsius of its warmest part.
 */
public class Signal(public val roomMib: Double? = null, public val celsius: Double? = null)

/** Returns a tier's name without the kind of its method: m4_f4_s64_r4_b16, l2_m4_f4_s64_r4_b16 for two layers. */
internal fun shortName(tier: Tier): String = tier.method.substringAfter('_')

/**
 * Returns the tiers in which a plan can be trained, best first.
 *
 * @param largest what the device offered: no more slots, no longer texts, the same batch.
 * @param need what the plan needs.
 * @throws PlanException when none has enough.
 */
internal fun fitting(tiers: List<Tier>, largest: Tier, need: Need): List<Tier> {
    val fitting = tiers.filter {
        it.trainedSlots in need.slots..largest.trainedSlots && it.layers >= need.layers &&
            it.heldSlots <= largest.heldSlots && it.seqLen <= largest.seqLen && it.batchSize == largest.batchSize
    }
    if (fitting.isEmpty()) {
        throw PlanException(
            "the plan trains ${need.slots} experts at a layer and the top ${need.layers} layers, this device has " +
                "${largest.trainedSlots} slots and ${tiers.maxOf(Tier::layers)} layers",
        )
    }
    return fitting.sortedWith(
        compareBy({ it.layers }, { -it.heldSlots }, { -it.seqLen }, { -it.rows }, { it.trainedSlots }),
    )
}

/**
 * Returns the best tier that memory and heat allow; the smallest when none is allowed.
 *
 * A step up needs the reserve twice, and a cool device, so that a device at the edge does not swing.
 *
 * @param candidates best first ([fitting]).
 * @param current where training is; null before it starts.
 */
internal fun choose(candidates: List<Tier>, signal: Signal, current: Tier? = null): Tier =
    byMemory(byHeat(candidates, signal.celsius, current), signal.roomMib, current)

/** Returns the tiers that a temperature leaves: cheaper steps than now when hot, none dearer until it is cool. */
private fun byHeat(candidates: List<Tier>, celsius: Double?, current: Tier?): List<Tier> {
    if (celsius == null || celsius <= COOL_C) return candidates
    val cheapest = listOf(candidates.minByOrNull(::stepMs)!!)
    if (current == null) return if (celsius < HOT_C) candidates else cheapest
    val now = stepMs(current)
    val cheaper = candidates.filter { stepMs(it) < now }
    if (celsius >= HOT_C && cheaper.isNotEmpty()) return cheaper
    return candidates.filter { stepMs(it) <= now }.ifEmpty { cheapest }
}

private fun byMemory(candidates: List<Tier>, roomMib: Double?, current: Tier?): Tier {
    if (roomMib == null) return candidates[0]
    val now = current?.let(::memoryMib) ?: Double.POSITIVE_INFINITY
    return candidates.find { tier ->
        val need = memoryMib(tier)
        need + (if (need > now) 2 * RESERVE_MIB else RESERVE_MIB) <= roomMib
    } ?: candidates.minByOrNull(::memoryMib)!!
}

private fun stepMs(tier: Tier) = costOf(tier, Cost::stepMs)

private fun memoryMib(tier: Tier) = costOf(tier, Cost::memoryMib)

/**
 * Watches memory and heat while training, and moves to another tier between two steps when they ask for it.
 *
 * @property tiers that the budget leaves.
 * @property largest that the device offers for plans.
 * @param sensors tell memory and temperature.
 * @param seconds a clock.
 */
internal class Watch(
    val tiers: List<Tier>,
    val largest: Tier,
    private val sensors: () -> Signal,
    private val seconds: () -> Double,
) {
    private var lookedAt = Double.NEGATIVE_INFINITY

    /** Returns the watch of a device with such texts: no tier of more rows than they need. */
    fun forTexts(counts: () -> List<Int>): Watch =
        suiting(tiers, counts).let { Watch(it, it[0], sensors, seconds) }

    /**
     * Returns the tier to start a task in that needs such a tier.
     *
     * @throws PlanException when there is none.
     */
    fun begin(need: Need): Tier {
        lookedAt = seconds()
        return choose(fitting(tiers, largest, need), sensors())
    }

    /** Moves training to another tier if memory or heat ask for it; returns what was done, empty for nothing. */
    fun look(trainer: Trainer): String {
        val now = seconds()
        if (tiers.size < 2 || now - lookedAt < LOOK_EVERY_S) return ""
        lookedAt = now
        val before = trainer.tier
        val after = choose(fitting(tiers, largest, trainer.need), sensors(), before)
        if (after.method == before.method) return ""
        trainer.switch(after)
        return "${shortName(before)} -> ${shortName(after)}"
    }

    private companion object {
        /** A chip needs about that long to show that it has less to do. */
        const val LOOK_EVERY_S = 10.0
    }
}
