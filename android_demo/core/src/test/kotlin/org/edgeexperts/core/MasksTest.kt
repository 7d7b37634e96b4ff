package org.edgeexperts.core

import org.edgeexperts.wire.CircleKey
import org.edgeexperts.wire.CircleTerms
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.ExpertRef
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MaskAnswer
import org.edgeexperts.wire.MaskCircle
import org.edgeexperts.wire.MaskDealt
import org.edgeexperts.wire.MaskKeys
import org.edgeexperts.wire.MaskMember
import org.edgeexperts.wire.MaskMembers
import org.edgeexperts.wire.MaskRound
import org.edgeexperts.wire.MaskShares
import org.edgeexperts.wire.MaskSurvivors
import org.edgeexperts.wire.MaskTerms
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.refs
import org.edgeexperts.wire.secure.FederationScope
import org.edgeexperts.wire.secure.Member
import org.edgeexperts.wire.secure.Terms
import org.edgeexperts.wire.secure.inOrder
import org.edgeexperts.wire.secure.publicKeys
import org.edgeexperts.wire.secure.readMembers
import org.edgeexperts.wire.secure.sealed
import org.edgeexperts.wire.sha256
import java.io.File
import java.nio.file.Files
import kotlin.math.abs
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

private const val OTHERS = 4

private fun MaskTerms.Builder.circle(number: Int, blocks: CircleTerms.Builder) =
    addCircles(blocks.setNumber(number))

private fun blocks(layer: Int, index: Int) =
    CircleTerms.newBuilder().addBlocks(ExpertRef.newBuilder().setLayer(layer).setIndex(index))

/** Coarse steps, so that rounding leaves something of each value. */
private fun terms(): MaskTerms.Builder = MaskTerms.newBuilder().setVersion(1).setLimit(127).setMostWeight(15)
    .setExamplesPerWeight(1f).setExpertStep(0.25f).setExpertNorm(1000f)
    .circle(0, CircleTerms.newBuilder().addAllBlocks(refs(listOf(TOY_EXPERT))))

/** A gateway of five members that a test speaks for: the device is one, the others do what they should. */
private class MaskedRound(val rig: DeviceRig, number: Long = 1, terms: MaskTerms.Builder = terms()) {
    private val version = rig.version(toyBank())
    val plan: ByteArray = rig.plan(version, round = number, steps = 2) { addMasks(terms) }
    private val circles = terms.circlesList.map { it.number }
    private val roots = List(OTHERS) { ByteArray(32) { byte -> (byte + it + 1).toByte() } }
    private var told = MaskRound.newBuilder().setWireVersion(WIRE_VERSION).setDevice("me").setRound(number)
        .setPlanDigest(sha256(plan).asField())
    private var members: ByteArray = ByteArray(0)
    private val own by lazy { body(Kind.KEYS) } // of any process: they are the same

    /** All that was offered in this round, over all processes: digests in hex by kind. */
    val offered = HashMap<Kind, ArrayList<String>>()

    fun body(kind: Kind): ByteArray {
        val topic = if (kind == Kind.DELTA) Topic.DELTA else Topic.MASKS
        val bodies = rig.link.said.filter { it.first == topic }.map { it.second }
        return joinedBody(bodies.last { MessageKind.CHUNK.decode(it.first()).kind == kind })
    }

    fun counts(): Map<Kind, Int> = rig.link.offers().groupingBy { it.kind }.eachCount()

    fun accept(kind: Kind, code: Code = Code.ACCEPTED) = rig.verdict(kind, body(kind), code)

    /** Ends the process and starts another, which hears what is retained. */
    fun kill() {
        check(own.isNotEmpty())
        note()
        rig.killAndStart()
        rig.join()
        rig.version(toyBank())
        rig.hear(Topic.PLAN, plan, "me")
        if (!told.members.isEmpty) tell()
        rig.turn(4)
    }

    fun note() = rig.link.offers().forEach { offered.getOrPut(it.kind) { ArrayList() } += hex(it.digest.toByteArray()) }

    fun tell(change: MaskRound.Builder.() -> Unit = {}) =
        rig.hear(Topic.SECURE, told.clone().apply(change).build().toByteArray(), "me")

    private fun keys(root: ByteArray): MaskKeys = publicKeys(root, circles).let { public ->
        MaskKeys.newBuilder().setSharing(public.sharing.asField()).addAllMasking(
            public.masking.map { (circle, key) -> CircleKey.newBuilder().setCircle(circle).setKey(key.asField()).build() },
        ).build()
    }

    /** Returns the bytes of a list of the others and, with [me], this device. */
    fun list(me: Boolean = true, least: Int = 3): ByteArray {
        val own = own
        val every = roots.map { keys(it) to sha256(it) } + if (me) listOf(MaskKeys.parseFrom(own) to sha256(own)) else emptyList()
        val order = inOrder(every.map { it.second }).map(::hex)
        val listed = every.sortedBy { order.indexOf(hex(it.second)) }.map { (keys, digest) ->
            MaskMember.newBuilder().setDigest(digest.asField()).setSharing(keys.sharing).addAllMasking(keys.maskingList).build()
        }
        val sizes = circles.map {
            MaskCircle.newBuilder().setNumber(it).setNeighbours(every.size - 1).setThreshold(3).setLeast(least).setBits(16).build()
        }
        return MaskMembers.newBuilder().setWireVersion(WIRE_VERSION).setRound(told.round).addAllMembers(listed)
            .addAllCircles(sizes).build().toByteArray()
    }

    fun tellMembers(data: ByteArray = list()) {
        members = data
        told.members = sha256(data).asField()
        tell()
        rig.blob(data)
    }

    private val places get() = readMembers(members).keys.map { hex(it.digest) }

    val me get() = places.indexOf(hex(sha256(own)))

    private val all get() = places.indices.toSet()

    fun bits(places: Set<Int>) = byteArrayOf(places.sumOf { 1 shl it }.toByte()).asField()

    fun dealt(places: Set<Int> = all, list: ByteArray = sha256(members)): ByteArray {
        val listed = readMembers(members)
        val shares = roots.associate { root -> this.places.indexOf(hex(sha256(root))) to root }
            .mapValues { (place, root) -> Member(root, listed, place).dealt().getValue(me) }
        return MaskDealt.newBuilder().setWireVersion(WIRE_VERSION).setMembers(list.asField()).setDealt(bits(places))
            .addAllShares(sealed(shares)).build().toByteArray()
    }

    fun tellDealt(data: ByteArray = dealt()) {
        told.dealt = sha256(data).asField()
        tell()
        rig.blob(data)
        rig.turn(2)
    }

    fun survivors(places: Set<Int> = all, dealt: Set<Int> = all): ByteArray = MaskSurvivors.newBuilder()
        .setWireVersion(WIRE_VERSION).setMembers(sha256(members).asField()).setDealt(bits(dealt)).setSurvivors(bits(places))
        .build().toByteArray()

    fun tellSurvivors(data: ByteArray = survivors()) {
        told.survivors = sha256(data).asField()
        tell()
        rig.blob(data)
        rig.turn()
    }

    /** Goes on until the device waits for who dealt. */
    fun untilDealt() {
        rig.turn(4)
        accept(Kind.KEYS)
        tellMembers()
        accept(Kind.SHARES)
    }

    /** Goes on until the delta is accepted. */
    fun untilDelta() {
        untilDealt()
        tellDealt()
        accept(Kind.DELTA)
    }
}

/** A device in rounds under masks against a scripted gateway: each message late, twice, of another list, unsafe; and kills. */
class MasksTest {
    private val folder = Files.createTempDirectory("masks").toFile()
    private val rigs = ArrayList<DeviceRig>()

    @AfterTest
    fun removeFolder() {
        rigs.forEach(DeviceRig::close)
        folder.deleteRecursively()
    }

    private fun member(signer: (ByteArray) -> MaskSigner? = { null }): DeviceRig = DeviceRig(File(folder, "${rigs.size}"), signer = signer).also {
        rigs += it
        it.join()
    }

    private val DeviceRig.notice get() = board.state.notice

    /** Keys at once, shares for a list, the delta once it is known who dealt, the answer once it is known who survived. */
    @Test
    fun aRoundFromKeysToAnswer() {
        val rig = member()
        assertEquals(2, rig.link.hellos().last().masks)
        val round = MaskedRound(rig)
        val keys = MaskKeys.parseFrom(round.body(Kind.KEYS))
        assertEquals("me" to listOf(0), keys.device to keys.maskingList.map { it.circle })
        assertContentEquals(sha256(round.plan), keys.planDigest.toByteArray())
        assertEquals(setOf(Topic.SECURE), rig.link.listened)
        rig.turn(4)
        assertEquals(WorkState.TRAINING, rig.device.session.work) // trained; what is said waits for who dealt
        assertEquals(Doing.IDLE, rig.board.state.doing)
        assertNotNull(Unmasked.recall(rig.store))
        round.tellMembers()
        assertEquals(mapOf(Kind.KEYS to 1), round.counts()) // shares wait for the verdict on the keys
        round.accept(Kind.KEYS)
        val shares = MaskShares.parseFrom(round.body(Kind.SHARES))
        assertEquals((0..OTHERS).filter { it != round.me }, shares.sharesList.map { it.place })
        round.accept(Kind.SHARES)
        assertEquals(emptyList(), rig.link.bodies(Topic.DELTA))
        round.tellDealt()
        val delta = MessageKind.DELTA.decode(round.body(Kind.DELTA))
        assertEquals(listOf(0), delta.maskedList.map { it.number })
        assertEquals((TOY_SHAPE.expertSize + 1) * 2, delta.getMasked(0).words.size()) // values and their weight, 16 bits each
        assertEquals(listOf<Any>(1, 0f, 0f, 2), delta.run { listOf(examples, lossFirst, lossLast, steps) })
        round.accept(Kind.DELTA)
        assertEquals(WorkState.IDLE, rig.device.session.work)
        round.tellSurvivors(round.survivors((0..OTHERS).toSet() - (if (round.me == 0) 1 else 0)))
        val answer = MaskAnswer.parseFrom(round.body(Kind.ANSWER))
        assertEquals((0..OTHERS).toList(), answer.sharesList.map { it.place })
        round.accept(Kind.ANSWER)
        assertEquals(mapOf(Kind.KEYS to 1, Kind.SHARES to 1, Kind.DELTA to 1, Kind.ANSWER to 1), round.counts())
        rig.version(toyBank(), number = 2, round = 1)
        assertNull(rig.store.read("masks"))
    }

    /** Killed before each verdict, and while it waits for who dealt: whatever is offered again has the same bytes. */
    @Test
    fun whatIsSentAgainAfterAKillHasTheSameBytes() {
        val rig = member()
        val round = MaskedRound(rig)
        round.kill()
        round.accept(Kind.KEYS)
        round.kill() // before the list
        round.tellMembers(round.list())
        round.kill()
        round.accept(Kind.SHARES)
        assertEquals(WorkState.TRAINING, rig.device.session.work)
        round.kill() // trained, and not masked
        assertEquals(WorkState.TRAINING, rig.device.session.work)
        round.tellDealt()
        round.kill()
        round.accept(Kind.DELTA)
        round.tellSurvivors()
        round.kill()
        round.accept(Kind.ANSWER)
        round.kill()
        assertEquals(setOf(Kind.KEYS, Kind.SHARES, Kind.DELTA, Kind.ANSWER), round.offered.keys)
        for ((kind, digests) in round.offered) assertTrue(digests.size >= 2 && digests.distinct().size == 1, "$kind: $digests")
    }

    /** Each message twice, verdicts that were given, another plan's round, another device's: nothing is said again. */
    @Test
    fun whatComesTwiceChangesNothing() {
        val rig = member()
        val round = MaskedRound(rig)
        round.untilDealt()
        round.tellMembers(round.list())
        round.accept(Kind.KEYS)
        round.tell { planDigest = ByteArray(32).asField() }
        round.tell { members = ByteArray(32).asField().also { planDigest = it } }
        round.tellDealt()
        round.tellDealt()
        round.accept(Kind.DELTA)
        round.accept(Kind.SHARES)
        round.tellSurvivors()
        round.tellSurvivors()
        round.accept(Kind.ANSWER)
        round.accept(Kind.ANSWER)
        assertEquals(mapOf(Kind.KEYS to 1, Kind.SHARES to 1, Kind.DELTA to 1, Kind.ANSWER to 1), round.counts())
        assertEquals("", rig.notice)
        round.tell { device = "you" }
        assertTrue("a round of you came on the topic of me" in rig.notice, rig.notice)
    }

    /** One list, one that dealt, one set of survivors: whoever signs others, they are refused and the first ones stay. */
    @Test
    fun anotherListOrOtherSurvivorsAreRefused() {
        val rig = member()
        val round = MaskedRound(rig)
        round.untilDelta()
        round.tellSurvivors()
        val said = round.counts()
        val other = ByteArray(32) { 7 }.asField()
        val changes: List<Pair<String, MaskRound.Builder.() -> Unit>> =
            listOf("members" to { members = other }, "dealt" to { dealt = other }, "survivors" to { survivors = other })
        for ((part, change) in changes) {
            round.tell(change)
            assertTrue("tells of other $part than it did before" in rig.notice, rig.notice)
        }
        assertEquals(said, round.counts())
        round.accept(Kind.ANSWER)
    }

    private fun refused(reason: String, record: String = "masks", act: MaskedRound.() -> Unit) {
        val rig = member()
        val round = MaskedRound(rig)
        rig.turn(4)
        round.act()
        assertTrue(reason in rig.notice, "expected '$reason', told '${rig.notice}'")
        assertNull(rig.store.read(record))
        assertNull(rig.store.read("unmasked"))
        assertEquals(WorkState.IDLE, rig.device.session.work)
        assertEquals(emptyList(), rig.link.bodies(Topic.DELTA))
        val said = rig.link.said.size
        rig.hear(Topic.PLAN, round.plan, "me")
        rig.turn(4)
        assertEquals(said, rig.link.said.size) // it is done with: no root is made for it again
    }

    private fun MaskedRound.listed(data: ByteArray) {
        accept(Kind.KEYS)
        tellMembers(data)
    }

    /** A round that is not safe, or goes on without this device: nothing more is said of it, and its plan is done with. */
    @Test
    fun anUnsafeRoundIsOver() {
        refused("are no MaskMembers") { listed(byteArrayOf(7, 7, 7)) }
        refused("has not the keys that this device sent") { listed(list(me = false)) }
        refused("is opened from 2 on, expected 3") { listed(list(least = 2)) }
        refused("goes on without this device") { listed(list()); tellDealt(dealt((0..OTHERS).toSet() - me)) }
        refused("or with another list") { listed(list()); tellDealt(dealt(list = ByteArray(32))) }
        refused("do not say who of 5 members") { listed(list()); tellDealt(dealt(setOf(0, 1, 2, 3, 4, 5))) }
        refused("no circle of this device has enough members", "delta") { listed(list()); tellDealt(dealt(setOf(me, (me + 1) % 5))) }
        refused("goes on without this device: ") { accept(Kind.KEYS, Code.STALE) }
        refused("goes on without this device: ") { listed(list()); accept(Kind.SHARES, Code.STALE) }
    }

    /** It was masked, and comes too late, or the gateway lies of who dealt: nothing is told of others. */
    @Test
    fun survivorsThatItDoesNotBelongToGetNoAnswer() {
        for ((reason, lie) in mapOf<String, MaskedRound.() -> ByteArray>(
            "it came too late" to { survivors((0..OTHERS).toSet() - me) },
            "of others that dealt" to { survivors(setOf(0, 1, 2, 3, 4), setOf(0, 1, 2, 3)) },
        )) {
            val rig = member()
            val round = MaskedRound(rig)
            round.untilDealt()
            round.tellDealt()
            round.accept(Kind.DELTA, Code.STALE)
            round.tellSurvivors(round.lie())
            assertTrue(reason in rig.notice, rig.notice)
            assertNull(round.counts()[Kind.ANSWER])
            assertNull(rig.store.read("masks"))
        }
    }

    /** Taken back before the delta, the round is over; after it, the answer is still given. */
    @Test
    fun aPlanThatIsTakenBackEndsItsRoundBeforeTheDelta() {
        val early = member().also { MaskedRound(it).untilDealt() }
        early.hear(Topic.PLAN, ByteArray(0), "me")
        assertNull(early.store.read("masks"))
        assertEquals(WorkState.IDLE, early.device.session.work)
        val rig = member()
        val round = MaskedRound(rig)
        round.untilDelta()
        rig.hear(Topic.PLAN, ByteArray(0), "me")
        round.tellSurvivors()
        round.accept(Kind.ANSWER)
    }

    /** What rounding left is added to the next delta once this one was accepted, and only then; all of it by hand. */
    @Test
    fun whatRoundingLeftGoesIntoTheNextDelta() {
        val rig = member()
        fun trained(number: Long, code: Code): Unmasked {
            val round = MaskedRound(rig, number)
            round.untilDealt()
            val unmasked = assertNotNull(Unmasked.recall(rig.store))
            round.tellDealt()
            round.accept(Kind.DELTA, code)
            return unmasked
        }
        fun said(one: Unmasked) = one.values.getValue(0).toList()
        val (first, second, third) = listOf(trained(1, Code.STALE), trained(2, Code.ACCEPTED), trained(3, Code.ACCEPTED))
        assertEquals(said(first), said(second)) // the same training, and nothing was left over by a delta that was refused
        val left = second.left.getValue(TOY_EXPERT)
        assertTrue(left.any { it != 0f })
        val factor = 3 / (15 * 0.25) // three examples
        val change = FloatArray(left.size) { (said(second)[it] / factor + left[it]).toFloat() + left[it] }
        val next = Terms(terms().build()).integers(TOY_EXPERT, change, 3, FloatArray(2))
        assertEquals(next.integers.toList(), said(third))
        assertEquals(3, said(third).last())
    }

    /** Class sums are a circle of their own: counts, then sums, in steps of 1/1024. */
    @Test
    fun classSumsGoUnderMasksToo() {
        val rig = member()
        val both = terms().circle(1, blocks(65535, 2)).setClassStep(1f / 1024).setClassExamples(3f)
        val round = MaskedRound(rig, terms = both)
        round.untilDealt()
        val unmasked = assertNotNull(Unmasked.recall(rig.store))
        // An alarm of the tokens 2 and 3; two kinds of music, 4, and 4 and 5. A feature is the mean token, and 1.
        // All is cut to the three examples that the plan counts; of unit features no sum is longer.
        val expected = listOf(1.0, 2.0, 2.5, 1.0, minOf(4 + 4.5, 3.0), 2.0).map { (1024 * it).toInt() }
        assertEquals(expected, unmasked.values.getValue(1).toList())
        round.tellDealt()
        assertEquals(listOf(0, 1), MessageKind.DELTA.decode(round.body(Kind.DELTA)).maskedList.map { it.number })
    }

    /**
     * With noise the whole update is cut to its norm in integers; the noise is in what is kept, and so is not drawn anew after a kill.
     * A list whose sums are opened with less of it than planned is refused.
     */
    @Test
    fun noiseIsDrawnOnceForAPlanAndKept() {
        fun noisy(variance: Long) = terms().setVersion(2).setMostWeight(1).setWholeNorm(40)
            .setCircles(0, terms().getCircles(0).toBuilder().setVariance(variance).setLeast(4))
        val rig = member()
        val round = MaskedRound(rig, terms = noisy(1L shl 24))
        rig.turn(4)
        val kept = assertNotNull(Unmasked.recall(rig.store)).values.getValue(0).toList()
        assertEquals(1, kept.last()) // its weight, whatever examples there are
        assertTrue(kept.dropLast(1).sumOf { it.toLong() * it } > 40 * 40 * 100, "$kept")
        round.kill()
        assertEquals(kept, assertNotNull(Unmasked.recall(rig.store)).values.getValue(0).toList())
        round.accept(Kind.KEYS)
        round.tellMembers(round.list())
        assertTrue("circle 0 is opened from 3 survivors on, the plan's noise is for 4" in rig.notice, rig.notice)
        assertNull(rig.store.read("unmasked"))

        val other = member()
        MaskedRound(other, terms = noisy(16))
        other.turn(4)
        val said = assertNotNull(Unmasked.recall(other.store))
        val left = said.left.getValue(TOY_EXPERT) // what rounding left, and nothing of the noise or of the cut
        assertTrue(left.all { abs(it) <= 0.125f } && left.any { it != 0f }, "${left.toList()}")
    }

    /** Nothing of a diverged training goes under masks. */
    @Test
    fun aDivergedTrainingIsNotMasked() {
        val rig = member()
        rig.program.diverges = true
        val round = MaskedRound(rig)
        rig.turn(4)
        assertTrue("training diverged, nothing is sent" in rig.notice, rig.notice)
        round.accept(Kind.KEYS)
        assertEquals(WorkState.IDLE, rig.device.session.work)
        assertNull(rig.store.read("unmasked"))
    }

    /**
     * What a device has decides: with a certificate it signs its keys and takes no list of which somebody did not, and with one
     * whose issuer it does not know it takes part in no round under masks, whatever a plan asks for.
     */
    @Test
    fun withACertificateItMasksAmongThoseWhoSignedAlone() {
        val authority = Authority(folder, "authority").apply { sign("me", "EC", "-groupname", "secp256r1") }
        fun signer(ca: String?): (ByteArray) -> MaskSigner? =
            { MaskSigner.of(TlsIdentity(ca, authority.certificate("me"), authority.key("me")), FederationScope("home", it)) }
        val rig = member(signer(authority.certificate()))
        assertEquals(2 to true, rig.link.hellos().last().run { masks to signsKeys })
        val round = MaskedRound(rig)
        val keys = MessageKind.MASK_KEYS.decode(round.body(Kind.KEYS))
        assertEquals(1, keys.round)
        round.accept(Kind.KEYS)
        round.tellMembers(round.list())
        assertTrue("of the list has not signed its keys" in rig.notice, rig.notice)
        assertEquals(WorkState.IDLE, rig.device.session.work)
        assertNull(round.counts()[Kind.SHARES])

        val stranger = member(signer(null))
        assertEquals(0 to false, stranger.link.hellos().last().run { masks to signsKeys })
        stranger.plan(stranger.version(toyBank())) { addMasks(terms()) }
        assertTrue("is not in its enrolment (ca)" in stranger.notice, stranger.notice)
        assertEquals(WorkState.IDLE to emptyList(), stranger.device.session.work to stranger.link.offers())
    }

    /** Without an answer a body is offered again; to a gateway that restarted at once. */
    @Test
    fun keysAreOfferedUntilTheirVerdict() {
        val rig = member()
        rig.calls = false
        val round = MaskedRound(rig)
        assertEquals(1, round.counts()[Kind.KEYS])
        rig.turn(8, seconds = 0.5)
        assertEquals(2, round.counts()[Kind.KEYS])
        rig.gateway(session = 2)
        rig.welcome()
        assertEquals(3, round.counts()[Kind.KEYS])
        assertEquals(1, rig.link.offers().map { hex(it.digest.toByteArray()) }.distinct().size)
    }
}
