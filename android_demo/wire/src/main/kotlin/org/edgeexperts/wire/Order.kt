/** The order in which a plan's seed leads through a device's examples: the same in every language. */
package org.edgeexperts.wire

/**
 * Returns the places 0 to [count] - 1 in the order of an epoch.
 *
 * Place i has the key splitmix64(splitmix64(seed) + splitmix64(epoch) + i) modulo 2^64 (Steele, Lea and Flood 2014);
 * keys ascend as unsigned numbers, equal ones, next to impossible, by place.
 *
 * @param seed 64 bits, of the plan.
 * @param epoch counted from 0 in each plan.
 * @param count examples.
 */
public fun epochOrder(seed: Long, epoch: Long, count: Int): IntArray {
    val start = splitmix64(seed) + splitmix64(epoch)
    // Turning the sign bit makes the signed order of longs the unsigned one.
    val keys = LongArray(count) { place -> splitmix64(start + place) xor Long.MIN_VALUE }
    return (0 until count).sortedBy { place -> keys[place] }.toIntArray()
}

private fun splitmix64(state: Long): Long {
    var mixed = state + -0x61c8864680b583ebL // 9E3779B97F4A7C15
    mixed = (mixed xor (mixed ushr 30)) * -0x40a7b892e31b1a47L // BF58476D1CE4E5B9
    mixed = (mixed xor (mixed ushr 27)) * -0x6b2fb644ecceee15L // 94D049BB133111EB
    return mixed xor (mixed ushr 31)
}
