/**
 * What a device has at hand of a round under masks: its root, what the gateway told it of others, what it sends next; as
 * edge_runtime/federation/masks.py.
 *
 * Kept in sealed records: `masks` (plan, root, what was accepted so far; as body its MaskKeys), and `mask_members`,
 * `mask_dealt` and `mask_survivors` as they came. The root is on the disk before its keys are sent, and all else follows
 * from it and from these, so what is sent again after a kill has the same bytes. Of each of the three a device takes one;
 * another one is refused, whoever signs it.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.CircleKey
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MaskAnswer
import org.edgeexperts.wire.MaskKeys
import org.edgeexperts.wire.MaskShares
import org.edgeexperts.wire.MaskedCircle
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Plan
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.ToldShare
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.secure.Attendance
import org.edgeexperts.wire.secure.Member
import org.edgeexperts.wire.secure.Ring
import org.edgeexperts.wire.secure.placesOf
import org.edgeexperts.wire.secure.publicKeys
import org.edgeexperts.wire.secure.readMembers
import org.edgeexperts.wire.secure.sealed
import org.edgeexperts.wire.sha256
import java.security.SecureRandom

private const val RECORD = "masks"
private const val MEMBERS = "members"
private const val DEALT = "dealt"
private const val SURVIVORS = "survivors"

/** What the gateway tells, in the order in which it does. */
private val PARTS = listOf(MEMBERS, DEALT, SURVIVORS)
private const val ROOT_BYTES = 32

/** Records of a round under masks. */
internal val MASK_RECORDS = listOf(RECORD) + PARTS.map(::recordOf)

private fun recordOf(part: String) = "mask_$part"

/** What is said next of a round under masks: a [kind] and a [body]. */
internal class MaskBody(val kind: Kind, val body: ByteArray)

/**
 * The round under masks at hand, if there is one.
 *
 * What this device has decides, not what a plan says: with a signer it masks among members who signed, or not at all.
 *
 * @param store of this device.
 * @param device its id.
 * @param signer signs its keys, and checks those of others; null: nobody's.
 */
internal class Masks(private val store: Store, private val device: String, private val signer: MaskSigner? = null) {
    private var head: Map<String, Any?>
    private var keys: ByteArray
    private val named = HashMap<String, ByteArray>() // told of in this process, by part
    private var member: Member? = null

    init {
        val record = store.recall(RECORD)
        head = record?.head.orEmpty()
        keys = record?.body ?: ByteArray(0)
    }

    /** Whether there is a round under masks. */
    val active: Boolean get() = head.isNotEmpty()

    /** Digest of its plan, in hex; empty without one. */
    val planDigest: String get() = head["plan"] as String? ?: ""

    /** Number of its round; 0 without one. */
    val round: Long get() = head["round"] as Long? ?: 0

    /** Whether it is known who dealt, so that values can be masked. */
    val ready: Boolean get() = DEALT in head

    private val root get() = fromHex(head.getValue("root") as String)

    private val accepted get() = (head.getValue("accepted") as List<*>).map { (it as Long).toInt() }

    /** Takes part under a [plan], of whose payload this is the [digest] in hex: with the root that it has, or a new one. */
    fun begin(plan: Plan, digest: String) {
        if (planDigest == digest) return
        drop()
        if (plan.masksCount == 0) return
        val root = ByteArray(ROOT_BYTES).also(SecureRandom()::nextBytes)
        val public = publicKeys(root, plan.getMasks(0).circlesList.map { it.number })
        val masking = public.masking.map { (circle, key) ->
            CircleKey.newBuilder().setCircle(circle).setKey(key.asField()).build()
        }
        val own = MaskKeys.newBuilder().setWireVersion(WIRE_VERSION).setDevice(device).setPlanDigest(fromHex(digest).asField())
            .setSharing(public.sharing.asField()).addAllMasking(masking)
        keys = (if (signer?.fault == "") signer.sign(own.setRound(plan.round).build()) else own.build()).toByteArray()
        val least = plan.getMasks(0).circlesList.filter { it.least > 0 }.associate { "${it.number}" to it.least.toLong() }
        note("least" to least, "plan" to digest, "round" to plan.round, "root" to hex(root), "accepted" to emptyList<Long>())
    }

    /** Forgets the round; its root serves no other. */
    fun drop() {
        if (active) MASK_RECORDS.forEach(store::remove)
        head = emptyMap()
        keys = ByteArray(0)
        named.clear()
        member = null
    }

    /** Forgets a round whose version is announced: one of [round]. */
    fun letGo(round: Long) {
        if (active && round >= this.round) drop()
    }

    private fun note(vararg news: Pair<String, Any?>) {
        head = head + news
        store.write(RECORD, Record(head, keys))
    }

    // --- what the gateway tells -------------------------------------------------------------------------------

    /**
     * Takes a MaskRound; one of another plan is passed over.
     *
     * @throws WireException when the bytes are none for this device, or it names another list, or others that dealt or survived,
     * than before.
     */
    fun take(payload: ByteArray) {
        val message = MessageKind.MASK_ROUND.decode(payload)
        if (message.device != device) {
            throw WireException(Code.MALFORMED, "a round of ${message.device} came on the topic of $device")
        }
        if (!active || hex(message.planDigest.toByteArray()) != planDigest) return
        val told = PARTS.zip(listOf(message.members, message.dealt, message.survivors)).filterNot { it.second.isEmpty }
        for ((part, digest) in told) {
            if (part in head && head[part] != hex(digest.toByteArray())) {
                throw WireException(Code.MALFORMED, "the gateway tells of other $part than it did before in this round")
            }
        }
        told.forEach { (part, digest) -> named[part] = digest.toByteArray() }
    }

    /** Returns the digests of blobs that lack, in hex. */
    fun wanted(): List<String> =
        named.filterKeys { it !in head }.values.filterNot(store::hasBlob).map(::hex)

    /**
     * Takes up the blobs that are here, each in its turn.
     *
     * @throws WireException when one is none; the round is over for this device.
     * @throws SecureException when one is not safe, or this device cannot sign; likewise.
     */
    fun advance() {
        if (active && !signer?.fault.isNullOrEmpty()) throw SecureException(signer?.fault.orEmpty())
        for (part in PARTS.filterNot(head::containsKey)) {
            val digest = named[part] ?: return
            val data = store.blob(digest) ?: return
            when (part) {
                MEMBERS -> member = checkedMember(data)
                DEALT -> checkDealt(data)
                else -> checkSurvivors(data)
            }
            store.write(recordOf(part), Record(body = data))
            note(part to hex(digest))
        }
    }

    // --- what it sends ----------------------------------------------------------------------------------------

    /**
     * Returns what is to be sent next and was not accepted yet; null: nothing.
     *
     * @throws SecureException when what it follows from is damaged; the round is over for this device.
     */
    fun body(): MaskBody? = when {
        !active -> null
        Kind.KEYS_VALUE !in accepted -> MaskBody(Kind.KEYS, keys)
        MEMBERS in head && Kind.SHARES_VALUE !in accepted -> MaskBody(Kind.SHARES, shares())
        SURVIVORS in head && Kind.ANSWER_VALUE !in accepted -> MaskBody(Kind.ANSWER, answer())
        else -> null
    }

    private fun shares(): ByteArray = part().let { own ->
        MaskShares.newBuilder().setWireVersion(WIRE_VERSION).setDevice(device).setMembers(own.context.asField())
            .addAllShares(sealed(own.dealt())).build().toByteArray()
    }

    private fun answer(): ByteArray {
        val (own, data) = part() to record(SURVIVORS)
        val (dealt, shares) = dealt()
        val survivors = placesOf(MessageKind.MASK_SURVIVORS.decode(data).survivors.toByteArray(), own.count)
        val told = own.answer(own.opened(shares), Attendance(dealt, survivors)).entries
            .sortedWith(compareBy({ it.key.circle }, { it.key.place }))
            .map { (secret, share) ->
                ToldShare.newBuilder().setCircle(secret.circle).setPlace(secret.place).setShare(share.asField()).build()
            }
        return MaskAnswer.newBuilder().setWireVersion(WIRE_VERSION).setDevice(device).setSurvivors(sha256(data).asField())
            .addAllShares(told).build().toByteArray()
    }

    /** Notes that a body of [kind] was accepted. */
    fun accepted(kind: Kind) = note("accepted" to (accepted + kind.number).distinct().sorted().map(Int::toLong))

    /**
     * Returns the digest of the list, and values under masks, of the circles that are summed.
     *
     * @param values integers by circle, of all circles of the plan.
     * @throws SecureException when no circle of this device is summed, or other values went under these masks before: whoever
     * has both knows by how much they differ.
     */
    fun masked(values: Map<Int, IntArray>): Pair<ByteArray, List<MaskedCircle>> {
        val (own, dealt) = part() to dealt().first
        val circles = own.circles.filter { it.runs(dealt) }
        if (circles.isEmpty()) throw SecureException("no circle of this device has enough members")
        val digest = hex(sha256(circles.map { encodeIntegers(values.getValue(it.number)) }.reduce(ByteArray::plus)))
        if (head["masked"] ?: digest != digest) {
            throw SecureException("other values went under the masks of this round before")
        }
        note("masked" to digest)
        return own.context to circles.map { circle ->
            val words = own.masked(circle.number, values.getValue(circle.number), dealt)
            MaskedCircle.newBuilder().setNumber(circle.number).setWords(Ring(circle.bits).pack(words).asField()).build()
        }
    }

    // --- checks -----------------------------------------------------------------------------------------------

    private fun checkDealt(data: ByteArray) {
        val (own, message) = part() to MessageKind.MASK_DEALT.decode(data)
        val dealt = placesOf(message.dealt.toByteArray(), own.count)
        if (!message.members.toByteArray().contentEquals(own.context) || own.place !in dealt) {
            throw SecureException("the gateway goes on without this device, or with another list")
        }
        val alone = own.circles.find { it.runs(dealt) && !it.supports(own.place, dealt) } ?: return
        throw SecureException("too few of those who hold this device's shares of circle ${alone.number} take part")
    }

    private fun checkSurvivors(data: ByteArray) {
        val (own, message) = part() to MessageKind.MASK_SURVIVORS.decode(data)
        val dealt = placesOf(message.dealt.toByteArray(), own.count)
        val survivors = placesOf(message.survivors.toByteArray(), own.count)
        if (!message.members.toByteArray().contentEquals(own.context) || dealt != dealt().first) {
            throw SecureException("survivors of another list, or of others that dealt")
        }
        if (own.place !in Attendance(dealt, survivors).survivors) {
            throw SecureException("the sums are without this device: it came too late")
        }
    }

    private fun checkedMember(data: ByteArray): Member {
        val listed = MessageKind.MASK_MEMBERS.decode(data)
        if (signer != null && listed.round != round) {
            throw SecureException("a list of members of round ${listed.round}, this is round $round")
        }
        signer?.checkList(listed)
        return memberOf(data)
    }

    private fun memberOf(data: ByteArray): Member {
        val (members, own) = readMembers(data) to sha256(keys)
        for ((number, least) in (head["least"] as Map<*, *>?).orEmpty()) {
            val circle = members.circles[(number as String).toInt()] ?: continue
            if (circle.least < least as Long) {
                throw SecureException(
                    "circle $number is opened from ${circle.least} survivors on, the plan's noise is for $least",
                )
            }
        }
        return Member(root, members, members.keys.indexOfFirst { it.digest.contentEquals(own) })
    }

    private fun part(): Member = member ?: memberOf(record(MEMBERS)).also { member = it }

    /** Returns who dealt, and what was dealt to this device, by place. */
    private fun dealt(): Pair<Set<Int>, Map<Int, ByteArray>> {
        val message = MessageKind.MASK_DEALT.decode(record(DEALT))
        return placesOf(message.dealt.toByteArray(), part().count) to
            message.sharesList.associate { it.place to it.data.toByteArray() }
    }

    private fun record(part: String): ByteArray = store.recall(recordOf(part))?.body
        ?: throw SecureException("what the gateway told of $part is damaged")
}
