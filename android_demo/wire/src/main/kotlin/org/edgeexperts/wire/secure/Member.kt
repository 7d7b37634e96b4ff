/**
 * A device's part in a sum under masks: its keys, shares for others, its masked values, and what it tells of others.
 *
 * Everything follows from one random root of 32 bytes, so that what is sent again after a kill has the same bytes. A root
 * is for one plan, one list and one set of survivors: to keep that is the caller's.
 */
package org.edgeexperts.wire.secure

import java.security.GeneralSecurityException
import javax.crypto.Cipher
import javax.crypto.spec.GCMParameterSpec
import javax.crypto.spec.SecretKeySpec
import org.edgeexperts.wire.SecureException

private const val TAG_BYTES = 16

private const val NONCE_BYTES = 12 // zeros: each key seals one text

private const val PAIR_BYTES = 2 * ELEMENT_BYTES

private fun sharingKey(root: ByteArray) = element(derive(root, ByteArray(0), info("sharing key")))

private fun maskingKey(root: ByteArray, circle: Int) = element(derive(root, ByteArray(0), info("masking key", circle)))

/**
 * Returns what a device tells of its keys.
 *
 * @param root its 32 secret bytes.
 * @param circles of its plan.
 * @param digest of the message that tells it, once there is one.
 */
public fun publicKeys(root: ByteArray, circles: Collection<Int>, digest: ByteArray = ByteArray(0)): MemberKeys =
    MemberKeys(digest, publicKey(sharingKey(root)), circles.associateWith { publicKey(maskingKey(root, it)) })

/** A share of a member's self secret, and one of its masking key. */
public class SharePair(internal val self: ByteArray, internal val masking: ByteArray)

/** Whose secrets are shared: a circle's number, and the [place] of the member. */
public data class Secret(public val circle: Int, public val place: Int)

/**
 * One device in a round.
 *
 * @param root 32 random bytes that nobody else knows, for this plan alone.
 * @param members as the gateway listed them.
 * @property place of this device in the list.
 * @throws SecureException for a list that is not safe, or that has other keys for this device than it sent.
 */
public class Member(private val root: ByteArray, private val members: MemberList, public val place: Int) {
    /** The circles that this device is in, by number. */
    public val circles: List<Circle>

    /** Members of the list. */
    public val count: Int get() = members.keys.size

    /** Digest of the list. */
    public val context: ByteArray get() = members.context

    private val sharing = sharingKey(root)

    init {
        members.check()
        circles = if (place in members.keys.indices) members.circlesOf(place) else emptyList()
        val own = publicKeys(root, circles.map { it.number })
        val listed = members.keys.getOrNull(place)
        val alike = listed != null && circles.isNotEmpty() && listed.sharing.contentEquals(own.sharing) &&
            own.masking.all { (number, key) -> listed.masking[number].contentEquals(key) }
        if (!alike) throw SecureException("the list of members has not the keys that this device sent")
    }

    /** Returns the shares of this device's secrets, sealed for each neighbour, by its place. */
    public fun dealt(): Map<Int, ByteArray> {
        val texts = sortedMapOf<Int, ByteArray>()
        for (circle in circles) { // by number, as both ends read them
            val shares = split(circle)
            for (other in circle.neighbours(place)) {
                val pair = shares.getValue(other)
                texts[other] = (texts[other] ?: ByteArray(0)) + pair.self + pair.masking
            }
        }
        return texts.mapValues { (other, text) -> cipher(Cipher.ENCRYPT_MODE, place, other).doFinal(text) }
    }

    /**
     * Returns the shares that this device holds, its own among them.
     *
     * @param sealed by the place of who dealt. What does not open, or is of another size, is left out: its dealer is helped
     * by others.
     */
    public fun opened(sealed: Map<Int, ByteArray>): Map<Secret, SharePair> {
        val held = HashMap<Secret, SharePair>()
        for (circle in circles) held[Secret(circle.number, place)] = split(circle).getValue(place)
        for ((other, data) in sealed) {
            val common = if (other != place) members.common(place, other) else emptyList()
            if (common.isEmpty() || data.size != PAIR_BYTES * common.size + TAG_BYTES) continue
            val text = open(other, data) ?: continue
            common.forEachIndexed { index, circle ->
                val start = PAIR_BYTES * index
                val middle = start + ELEMENT_BYTES
                val pair = SharePair(text.copyOfRange(start, middle), text.copyOfRange(middle, start + PAIR_BYTES))
                held[Secret(circle.number, other)] = pair
            }
        }
        return held
    }

    private fun open(dealer: Int, data: ByteArray): ByteArray? = try {
        cipher(Cipher.DECRYPT_MODE, dealer, place).doFinal(data)
    } catch (_: GeneralSecurityException) {
        null
    } catch (_: SecureException) { // a key of small order
        null
    }

    /** Returns this device's shares in a circle, by the holder's place. */
    private fun split(circle: Circle): Map<Int, SharePair> {
        val places = circle.holders(place)
        val numbers = places.map(circle::holder)
        val (self, masking) = listOf(selfSecret(circle.number), maskingKey(root, circle.number))
            .mapIndexed { kind, secret -> split(secret, coefficients(circle, kind), numbers) }
        return places.indices.associate { places[it] to SharePair(self[it], masking[it]) }
    }

    private fun selfSecret(circle: Int) = element(derive(root, members.context, info("self secret", circle)))

    private fun coefficients(circle: Circle, kind: Int): List<ByteArray> {
        val seed = derive(root, members.context, info("coefficients", circle.number, kind))
        val stream = streamOf(seed).doFinal(ByteArray(ELEMENT_BYTES * (circle.threshold - 1)))
        return List(circle.threshold - 1) { stream.copyOfRange(ELEMENT_BYTES * it, ELEMENT_BYTES * (it + 1)) }
    }

    /** Returns the cipher of the shares that one member seals for another, of whom this device is one. */
    private fun cipher(mode: Int, dealer: Int, holder: Int): Cipher {
        val other = if (dealer == place) holder else dealer
        val secret = agree(sharing, members.keys[other].sharing)
        val key = derive(secret, members.context, info("shares", dealer, holder))
        return Cipher.getInstance("AES/GCM/NoPadding").apply {
            init(mode, SecretKeySpec(key, "AES"), GCMParameterSpec(8 * TAG_BYTES, ByteArray(NONCE_BYTES)))
        }
    }

    /**
     * Returns a circle's values under this device's masks, as integers from 0 to 2^b - 1 packed in 32 bits.
     *
     * @param number of the circle.
     * @param values integers; negative ones too.
     * @param dealt places of the members whose shares went to their holders; nobody else is masked with.
     * @throws SecureException when this device is not in the circle, or too few of it, or of this device's holders, dealt.
     */
    public fun masked(number: Int, values: IntArray, dealt: Set<Int>): IntArray {
        val circle = circles.find { it.number == number } ?: throw SecureException("this device is not in circle $number")
        if (place !in dealt || !circle.runs(dealt) || !circle.supports(place, dealt)) {
            throw SecureException(
                "circle $number has fewer members with shares than the ${circle.least} that it is opened from",
            )
        }
        val ring = Ring(circle.bits)
        val words = values.copyOf()
        ring.addMask(words, derive(selfSecret(number), members.context, info("self mask", number)))
        val private = maskingKey(root, number)
        for (other in circle.neighbours(place).filter(dealt::contains)) {
            val common = agree(private, members.keys[other].masking.getValue(number))
            ring.addMask(words, derive(common, members.context, info("pair mask", number)), negative = place > other)
        }
        return IntArray(words.size) { ring.unsigned(words[it]).toInt() }
    }

    /**
     * Returns one share of each member that dealt: of its self secret if it stayed, else of its masking key.
     *
     * Circles with fewer survivors than `least` are left out, and so is a survivor too few of whose holders survived: its
     * values would be almost alone in what is left of the masks.
     *
     * @param held as [opened] returned it.
     * @param attendance the one of this list that the device answers.
     */
    public fun answer(held: Map<Secret, SharePair>, attendance: Attendance): Map<Secret, ByteArray> {
        val told = LinkedHashMap<Secret, ByteArray>()
        for (circle in circles.filter { attendance.stayed(it) >= it.least }) {
            for (other in circle.holders(place).filter(attendance.dealt::contains)) {
                val pair = held[Secret(circle.number, other)] ?: continue
                if (other !in attendance.survivors) {
                    told[Secret(circle.number, other)] = pair.masking
                } else if (attendance.backed(circle, other)) {
                    told[Secret(circle.number, other)] = pair.self
                }
            }
        }
        return told
    }
}
