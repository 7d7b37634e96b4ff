/**
 * The list of members that a round is summed over, and who masks with whom.
 *
 * All of a device's masks and seals follow from its root and from the list's digest: who was shown another list has
 * other masks, and can open none of these seals. Places in the list count from 0. Rules: edge_runtime/wire/SPEC.md, "Sums
 * under masks"; how many neighbours are enough is the gateway's to compute.
 */
package org.edgeexperts.wire.secure

import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

internal const val LEAST_MEMBERS = 3

private const val LEAST_NEIGHBOURS = 16

internal const val MOST_MEMBERS = 4096

/**
 * Refuses numbers that are not safe in a circle of [members].
 *
 * @param neighbours k of each.
 * @param threshold t of the k + 1 holders of a secret.
 * @throws SecureException unless all others are neighbours or an even number of them from 16 on, and more than half of the
 * holders are needed.
 */
public fun checkSizes(members: Int, neighbours: Int, threshold: Int) {
    val some = neighbours in LEAST_NEIGHBOURS until members && neighbours % 2 == 0
    if (!some && neighbours != members - 1) {
        throw SecureException("$neighbours neighbours in a circle of $members: expected all, or an even number from 16 on")
    }
    if (2 * threshold <= neighbours + 1 || threshold > neighbours + 1) {
        throw SecureException("a threshold of $threshold of ${neighbours + 1} holders: expected more than half of them")
    }
}

/** Returns the indexes of the [count] neighbours of the member at [index] of [members], ascending. */
public fun neighboursOf(index: Int, members: Int, count: Int): List<Int> =
    if (count == members - 1) {
        (0 until members).filter { it != index }
    } else {
        (1..count / 2).flatMap { listOf(index - it, index + it) }.map { Math.floorMod(it, members) }.distinct().sorted()
    }

/** Returns digests of keys in the order of a list: by SHA-256 of the digest of all, then their own. */
public fun inOrder(digests: Collection<ByteArray>): List<ByteArray> {
    val every = digests.distinctBy(::hex).sortedBy(::hex)
    val seed = sha256(every.fold(ByteArray(0), ByteArray::plus))
    return every.sortedBy { hex(sha256(seed + it)) }
}

/**
 * One member's keys.
 *
 * @property digest of the message in which the device sent them.
 * @property sharing X25519 key by which shares are sealed for it.
 * @property masking X25519 key by circle, for masks.
 */
public class MemberKeys(public val digest: ByteArray, public val sharing: ByteArray, public val masking: Map<Int, ByteArray>)

/**
 * The members who train the same blocks in a round.
 *
 * @property number in its round.
 * @property places of the members in the list, ascending.
 * @property neighbours k of each.
 * @property threshold t.
 * @property least members whose deltas must be in a sum for it to be opened.
 * @property bits of the ring.
 */
public class Circle(
    public val number: Int,
    public val places: List<Int>,
    public val neighbours: Int,
    public val threshold: Int,
    public val least: Int,
    public val bits: Int,
) {
    private val indexes = places.withIndex().associate { it.value to it.index }

    private val near = HashMap<Int, List<Int>>()

    /** Returns whether the member at [place] is in it. */
    public operator fun contains(place: Int): Boolean = place in indexes

    /** Returns the number of the member at [place] among holders of shares, from 1. */
    internal fun holder(place: Int): Int = indexes.getValue(place) + 1

    /** Returns the places of the neighbours of the member at [place], ascending. */
    public fun neighbours(place: Int): List<Int> = near.getOrPut(place) {
        neighboursOf(indexes.getValue(place), places.size, neighbours).map(places::get)
    }

    /** Returns the places of those who hold shares of a member's secrets: its neighbours and itself, ascending. */
    internal fun holders(place: Int): List<Int> = (neighbours(place) + place).sorted()

    /** Returns whether enough members [dealt] their shares for the circle to be masked at all. */
    public fun runs(dealt: Set<Int>): Boolean = places.count(dealt::contains) >= least

    /** Returns whether enough holders of a member's secrets [dealt], so that the secrets can be recovered. */
    public fun supports(place: Int, dealt: Set<Int>): Boolean = holders(place).count(dealt::contains) >= threshold

    internal fun check() {
        if (places != places.distinct().sorted()) {
            throw SecureException("members of circle $number are not in ascending order, each once")
        }
        val expected = maxOf(LEAST_MEMBERS, places.size / 2 + 1) // more than half of the members
        if (least !in expected..places.size) {
            throw SecureException("circle $number of ${places.size} is opened from $least on, expected $expected")
        }
        checkSizes(places.size, neighbours, threshold)
        Ring(bits)
    }
}

/**
 * All members of a round.
 *
 * @property context digest of the message that lists them.
 * @property keys of each, in order.
 * @property circles by number.
 */
public class MemberList(public val context: ByteArray, public val keys: List<MemberKeys>, public val circles: Map<Int, Circle>) {
    /**
     * Refuses a list that is not safe to mask with.
     *
     * @throws SecureException for too many members, the same keys twice, another order than that of [inOrder], a member without
     * the keys that it needs, or a circle that is not safe.
     */
    public fun check() {
        if (keys.size > MOST_MEMBERS) throw SecureException("a list of ${keys.size} members, limit $MOST_MEMBERS")
        val digests = keys.map { hex(it.digest) }
        if (digests != inOrder(keys.map { it.digest }).map(::hex)) {
            throw SecureException("members are listed twice, or in another order than their keys say")
        }
        for ((number, circle) in circles) {
            circle.check()
            if (number != circle.number || circle.places.first() < 0 || circle.places.last() >= keys.size) {
                throw SecureException("circle $number has members that are not in the list")
            }
        }
        checkKeys()
    }

    private fun checkKeys() {
        val masking = circles.values.flatMap { circle -> circle.places.map { keys[it].masking[circle.number] } }
        val listed = keys.map { it.sharing } + masking
        if (listed.any { it?.size != KEY_BYTES } || listed.distinctBy { it?.let(::hex) }.size != listed.size) {
            throw SecureException("keys have $KEY_BYTES bytes, and no two are alike")
        }
    }

    /** Returns the circles of the member at [place], by number. */
    public fun circlesOf(place: Int): List<Circle> = circles.toSortedMap().values.filter { place in it }

    /** Returns the circles in which two members are neighbours, by number. */
    internal fun common(one: Int, other: Int): List<Circle> = circlesOf(one).filter { other in it.neighbours(one) }
}

/**
 * Who of a list stayed until when, by place.
 *
 * @property dealt members whose shares went to their holders; others mask with these.
 * @property survivors members whose masked values are summed.
 * @throws SecureException when somebody survived who did not deal.
 */
public class Attendance(public val dealt: Set<Int>, public val survivors: Set<Int>) {
    init {
        val absent = survivors - dealt
        if (absent.isNotEmpty()) {
            throw SecureException("members ${absent.sorted().take(8)} survived, but had not dealt their shares")
        }
    }

    /** Returns whether enough holders of a survivor's secrets survived: so many have their masks in the sum, too. */
    internal fun backed(circle: Circle, place: Int): Boolean =
        circle.holders(place).count { it in survivors } >= circle.threshold

    /** Returns how many of [circle] survived. */
    internal fun stayed(circle: Circle): Int = circle.places.count { it in survivors }
}
