package org.edgeexperts.core

import org.edgeexperts.wire.CircleTerms
import org.edgeexperts.wire.Codec
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.Delta
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MaskTerms
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.decodeValues
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.refs
import org.edgeexperts.wire.sha256
import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** A device against a scripted gateway: whole rounds, kills, refusals. No sockets, no waiting. */
class DeviceTest {
    private val folder = Files.createTempDirectory("rig").toFile()
    private val rigs = ArrayList<DeviceRig>()

    @AfterTest
    fun removeFolder() {
        rigs.forEach(DeviceRig::close)
        folder.deleteRecursively()
    }

    private fun rig(name: String = "a", options: PartOptions = PartOptions(checkpointSeconds = 0.0)) =
        DeviceRig(File(folder, name), options).also { rigs += it }

    private fun DeviceRig.deltas(): List<Delta> = link.bodies(Topic.DELTA).map(MessageKind.DELTA::decode)

    private fun DeviceRig.work() = device.session.work

    /** A member with a version of its own bank. */
    private fun member(name: String = "a", options: PartOptions = PartOptions(checkpointSeconds = 0.0)): Pair<DeviceRig, ByteArray> {
        val rig = rig(name, options)
        rig.join()
        return rig to rig.version(toyBank())
    }

    /** State, version, plan and a verdict that would end the device: nobody signed them, none is acted on. */
    @Test
    fun whatTheGatewayDidNotSignChangesNothing() {
        val rig = DeviceRig(File(folder, "forged"), gatewayKey = ByteArray(32) { 7 }).also { rigs += it }
        rig.up()
        rig.gateway()
        rig.plan(rig.version(toyBank()))
        rig.hear(Topic.SECURE, byteArrayOf(1), "me")
        assertTrue("ignored a message on secure: BAD_SIGNATURE" in rig.board.state.notice)
        rig.verdict(Kind.HELLO, ByteArray(0), Code.REVOKED)
        assertEquals(emptyList(), rig.link.said)
        assertEquals(Session(link = LinkState.LISTENING), rig.device.session)
        assertTrue(!rig.device.finished() && rig.link.asked.isEmpty())
        assertTrue("ignored a message on verdict: BAD_SIGNATURE" in rig.board.state.notice)
    }

    /** Its blocks have the digests that it names, and one has the wrong size: told, and the version before stays. */
    @Test
    fun aVersionThatIsNoBankLeavesTheOneBefore() {
        val (rig, _) = member()
        assertEquals(1, rig.board.state.version)
        val junk = ByteArray(4)
        val digests = toyBank().digests()
        rig.version(digests + (digests.keys.min() to sha256(junk)), number = 9)
        rig.blob(junk)
        assertTrue("cannot be used: 4 bytes of values" in rig.board.state.notice, rig.board.state.notice)
        assertEquals(1, rig.board.state.version)
    }

    /** Their sum would have none, and say how many examples of each label a device has. */
    @Test
    fun classSumsBesideNoiseAreRefused() {
        val (rig, version) = member()
        fun circle(number: Int, block: ExpertId) =
            CircleTerms.newBuilder().setNumber(number).addAllBlocks(refs(listOf(block))).setVariance(16).setLeast(3)
        val terms = MaskTerms.newBuilder().setVersion(2).addCircles(circle(0, TOY_EXPERT)).addCircles(circle(1, ExpertId(65535, 2)))
            .setLimit(127).setMostWeight(1).setExamplesPerWeight(1f).setExpertStep(1e-4f).setExpertNorm(1f).setWholeNorm(100)
            .setClassStep(1f).setClassExamples(3f)
        val said = rig.link.said.size
        rig.plan(version, steps = 1) { addMasks(terms) }
        rig.turn(4)
        assertEquals(said, rig.link.said.size)
        assertTrue("class sums beside noise" in rig.board.state.notice, rig.board.state.notice)
    }

    /** Hello says what it is; the one changed block is fetched; three steps; the delta is trained - base, by hand. */
    @Test
    fun aRoundFromHelloToAcceptedDelta() {
        val rig = rig()
        rig.up()
        assertEquals(emptyList(), rig.link.said)
        rig.gateway()
        val hello = rig.link.hellos().single()
        assertEquals(listOf("me", "toy", 1, 1, 3, 3), hello.run { listOf(device, profile, trainedSlots, heldSlots, batchSize, examples) })
        assertEquals(listOf(Codec.FLOAT32, Codec.INT8), hello.codecsList)
        assertEquals(listOf(1), hello.reachesList.map { it.layers })
        rig.welcome(statistics = true)
        val statistics = rig.link.bodies(Topic.STATISTICS).single()
        assertEquals(hex(sha256(statistics)), hex(hello.statisticsDigest.toByteArray()))
        rig.verdict(Kind.STATISTICS, statistics)

        val moved = FloatArray(TOY_SHAPE.expertSize) { 2f }
        val version = rig.version(toyBank().replace(mapOf(TOY_EXPERT to moved)))
        assertEquals(1, rig.link.asked.size)
        val plan = rig.plan(version)
        assertEquals(WorkState.WAITING, rig.work())
        rig.blob(moved)
        rig.turn(4)
        assertEquals(WorkState.UPLOADING, rig.work())
        val delta = rig.deltas().single()
        assertEquals("1 1 3 3", delta.run { "$round $baseVersion $steps $examples" })
        assertContentEquals(sha256(plan), delta.planDigest.toByteArray())
        val change = decodeValues(delta.getExperts(0).values.toByteArray(), moved.size.toLong())
        // Tokens of the three texts: wake 2, me 3; play 4; play 4, song 5. Two of them fit into the row of 4 places, or three
        // where an epoch ends and the next begins with the shortest.
        val means = rig.board.state.losses.map { it.loss }
        assertTrue(means.all { it in listOf(9 / 4.0, 14 / 4.0, 13 / 4.0, 10 / 4.0, 18 / 4.0, 17 / 4.0) }, "$means")
        val first = means[0]
        val second = first / 2 + means[1]
        val third = second / 2 + means[2]
        change.forEachIndexed { place, it -> assertEquals(-0.125 * (first + second + third) * (1 + place), it.toDouble(), 1e-4) }
        rig.verdict(Kind.DELTA, rig.link.bodies(Topic.DELTA).single())
        assertEquals(WorkState.IDLE, rig.work())
        assertEquals(listOf("hello", "statistics", "delta"), rig.board.state.verdicts.map { it.kind })
    }

    /** Killed at any turn, a device makes the same delta as one that was not. */
    @Test
    fun aKillAtAnyMomentGivesTheSameBytes() {
        val (whole, version) = member("whole")
        whole.plan(version, steps = 5)
        whole.turn(6)
        val expected = whole.link.bodies(Topic.DELTA).single()
        for (killedAt in 0..6) {
            val (rig, _) = member("killed$killedAt")
            rig.plan(version, steps = 5)
            rig.turn(killedAt)
            rig.killAndStart()
            rig.join()
            rig.version(toyBank())
            rig.turn(6)
            assertEquals(hex(expected), rig.link.bodies(Topic.DELTA).map(::hex).distinct().single(), "killed after $killedAt")
        }
    }

    /** Without an answer a delta is offered again after 2.5 s, then 5, then 10: half of the backoff, since chance says 0. */
    @Test
    fun aDeltaIsOfferedUntilItsVerdict() {
        val (rig, version) = member()
        rig.calls = false
        rig.plan(version, steps = 1)
        rig.turn(2)
        val times = ArrayList<Double>()
        val began = rig.now
        repeat(180) {
            val before = rig.link.offers().size
            rig.turn(seconds = 0.125)
            if (rig.link.offers().size > before) times += rig.now - 0.125 - began
        }
        assertEquals(listOf(2.5, 7.5, 17.5), times)
        assertEquals(1, rig.link.offers().distinct().size)
        rig.link.busy = true
        rig.turn(60, seconds = 1.0)
        assertEquals(4 to 0, rig.link.offers().size to rig.deltas().size) // a slow link is not helped by more
    }

    /** BUSY: offered again when the gateway says, not before; sent once it calls, which it does by itself. */
    @Test
    fun aBusyGatewayIsTriedAgainWhenItSays() {
        val (rig, version) = member()
        rig.calls = false
        rig.plan(version, steps = 1)
        rig.turn(2)
        val offer = rig.link.offers().single()
        rig.answer(Kind.DELTA, offer.digest.toByteArray(), Code.BUSY, retry = 30f)
        rig.turn(29, seconds = 1.0)
        assertEquals(1, rig.link.offers().size)
        rig.turn(3, seconds = 1.0)
        assertEquals(2 to 0, rig.link.offers().size to rig.deltas().size)
        rig.call(offer)
        assertContentEquals(offer.digest.toByteArray(), sha256(rig.link.bodies(Topic.DELTA).single()))
        rig.turn(19, seconds = 1.0)
        assertEquals(2, rig.link.offers().size)
        rig.turn(2, seconds = 1.0)
        assertEquals(3, rig.link.offers().size) // no verdict in the time that the gateway held room
    }

    /** Chunks are asked for while the network costs by the byte: nothing goes out, and it is offered again afterwards. */
    @Test
    fun aCallOnAMeteredNetworkWaits() {
        var unmetered = true
        var seconds = 0.0
        val gate = Gate(Constraints(needsIdle = false), { seconds++ }) { Conditions(true, true, 100, unmetered, Heat.NONE, 1L shl 40) }
        val (rig, version) = member("a", PartOptions(gate = gate, checkpointSeconds = 0.0))
        rig.calls = false
        rig.plan(version, steps = 1)
        rig.turn(2)
        unmetered = false
        rig.turn()
        rig.call(rig.link.offers().single())
        rig.turn(40, seconds = 1.0)
        assertEquals(1 to 0, rig.link.offers().size to rig.deltas().size)
        unmetered = true
        rig.link.called = 1
        rig.calls = true
        rig.turn(2)
        assertEquals(1, rig.deltas().size)
    }

    /** BUSY after ACCEPTED: the gateway's disk lost it. The same bytes are offered again, until a version of their round is here. */
    @Test
    fun anAcceptedDeltaIsSentAgainUntilAVersionOfItsRound() {
        val (rig, version) = member()
        rig.plan(version, steps = 1)
        rig.turn(2)
        val body = rig.link.bodies(Topic.DELTA).single()
        rig.verdict(Kind.DELTA, body)
        rig.killAndStart()
        rig.join()
        rig.verdict(Kind.DELTA, body, Code.BUSY, retry = 1f)
        rig.turn(2, seconds = 1.0)
        assertEquals(listOf(hex(body)), rig.link.bodies(Topic.DELTA).map(::hex))
        rig.version(toyBank(), number = 2, round = 1)
        rig.verdict(Kind.DELTA, body, Code.BUSY, retry = 1f)
        rig.turn(2, seconds = 1.0)
        assertEquals(1, rig.link.bodies(Topic.DELTA).size)
    }

    /** A final refusal drops the delta, is shown, and the plan that came meanwhile is taken. */
    @Test
    fun aFinalRefusalDropsTheDelta() {
        val (rig, version) = member()
        rig.plan(version, steps = 1)
        rig.turn(2)
        rig.plan(version, round = 2, steps = 1)
        rig.verdict(Kind.DELTA, rig.link.bodies(Topic.DELTA).first(), Code.STALE)
        assertEquals("STALE" to false, rig.board.state.verdicts.last().let { it.code to it.accepted })
        rig.turn(3)
        assertEquals(2L, rig.deltas().last().round)
    }

    /** A gateway that does not know the device, or was started anew, is greeted again before the delta is sent again. */
    @Test
    fun aGatewayThatForgotIsGreetedAgain() {
        val (rig, version) = member()
        rig.plan(version, steps = 1)
        rig.turn(2)
        rig.verdict(Kind.DELTA, rig.link.bodies(Topic.DELTA).single(), Code.UNKNOWN_DEVICE)
        assertEquals(LinkState.GREETING to 2, rig.device.session.link to rig.link.hellos().size)
        rig.welcome()
        assertEquals(2, rig.deltas().size)
        rig.gateway(session = 2)
        assertEquals(3, rig.link.hellos().size)
        rig.welcome()
        assertEquals(3, rig.deltas().size)
    }

    /** A Want that a gateway refuses since it forgot the device: Hello at once, and the block is asked for again at once. */
    @Test
    fun aRefusedWantIsAGreetingAndAskedAgain() {
        val rig = rig()
        rig.join()
        val moved = FloatArray(TOY_SHAPE.expertSize) { 2f }
        rig.version(toyBank().replace(mapOf(TOY_EXPERT to moved)))
        rig.verdict(Kind.HELLO, rig.link.wants.single(), Code.UNKNOWN_DEVICE)
        assertEquals(LinkState.GREETING to 2, rig.device.session.link to rig.link.hellos().size)
        rig.welcome()
        assertEquals(2, rig.link.asked.size)
        assertEquals(1, rig.link.asked.distinct().size)
        rig.verdict(Kind.HELLO, rig.link.wants.last(), Code.REVOKED)
        assertEquals(LinkState.EXPELLED, rig.device.session.link)
    }

    /** Told to ask again, it asks for what lacks by then, soon; what came is let go of soon, too. */
    @Test
    fun aDeviceThatIsToldToAskAgainAsksForWhatLacks() {
        val rig = rig()
        rig.join()
        val (one, other) = FloatArray(TOY_SHAPE.expertSize) { 2f } to FloatArray(TOY_SHAPE.expertSize) { 3f }
        val second = toyBank().digests().keys.last { it.layer == TOY_EXPERT.layer && it != TOY_EXPERT && !it.shared }
        rig.version(toyBank().replace(mapOf(TOY_EXPERT to one, second to other)))
        assertEquals(2, rig.link.asked.size)
        rig.verdict(Kind.HELLO, rig.link.wants.single(), Code.BUSY, retry = 0.2f)
        rig.blob(one)
        rig.turn(4, seconds = 0.125)
        assertEquals(hex(sha256(encodeValues(other))), rig.link.asked.drop(2).single())
        assertEquals(hex(sha256(encodeValues(one))), rig.link.released.single())
        rig.verdict(Kind.HELLO, rig.link.wants.last(), Code.BUSY, retry = 0.2f)
        rig.blob(other)
        rig.turn(40, seconds = 1.0)
        assertEquals(3 to 2, rig.link.asked.size to rig.link.released.size)
    }

    /** A gateway that was started anew has forgotten every Want: all are said again once it knows the device. */
    @Test
    fun aNewSessionIsAskedForTheBlocksAgain() {
        val rig = rig()
        rig.join()
        rig.version(toyBank().replace(mapOf(TOY_EXPERT to FloatArray(TOY_SHAPE.expertSize) { 2f })))
        rig.gateway(session = 2)
        assertEquals(1, rig.link.asked.size)
        rig.welcome()
        assertEquals(2, rig.link.asked.size)
    }

    /** A broker that drops what it says (MQTT 3.1.1 hides that) is told with the fourth Hello, until a verdict comes. */
    @Test
    fun aDeviceThatNobodyAnswersSaysWhatMayBeWrong() {
        val rig = rig()
        rig.up()
        rig.gateway()
        rig.turn(4, seconds = 400.0)
        assertTrue("no answer to 3 Hellos: the gateway is busy" in rig.board.state.notice, rig.board.state.notice)
        rig.welcome()
        assertEquals("", rig.board.state.notice)
    }

    /** Another federation is told, and nothing is said to it. */
    @Test
    fun anotherFederationMeetsSilence() {
        val rig = rig()
        rig.up()
        rig.gateway(digest = ByteArray(32))
        assertEquals(LinkState.STRANGER, rig.device.session.link)
        assertTrue("serves another federation (000000000000…" in rig.board.state.notice)
        assertEquals(emptyList(), rig.link.said)
    }

    /** Three refusals end the run, with the reason; the farewell is said. */
    @Test
    fun anExpelledDeviceGivesUp() {
        for (code in listOf(Code.REVOKED, Code.WRONG_FEDERATION, Code.UNSUPPORTED_WIRE)) {
            val rig = rig("$code")
            rig.up()
            rig.gateway()
            rig.verdict(Kind.HELLO, rig.link.said.last().second.single(), code)
            assertTrue("refuses this device: $code" in assertFailsWith<ExpelledException> { rig.device.run() }.message!!)
            assertEquals(Topic.BYE, rig.link.said.last().first)
        }
    }

    /** A plan that is taken back stops training; the same plan that comes again is not new work. */
    @Test
    fun aPlanTakenBackStopsTraining() {
        val (rig, version) = member()
        val plan = rig.plan(version, steps = 50)
        rig.turn(2)
        assertEquals(WorkState.TRAINING, rig.work())
        rig.hear(Topic.PLAN, plan, "me")
        assertEquals(WorkState.TRAINING, rig.work())
        rig.hear(Topic.PLAN, ByteArray(0), "me")
        assertEquals(WorkState.IDLE, rig.work())
        rig.hear(Topic.PLAN, plan, "me")
        assertEquals(WorkState.IDLE, rig.work())
    }

    /**
     * A plan of the upper layer runs in the tier for it, above the version's experts of the lower one; what its steps took scales
     * the time of both layers in the next Hello. A plan of both runs in the other tier.
     */
    @Test
    fun aPlanIsTrainedAsDeepAsItGoes() {
        val rig = DeviceRig(File(folder, "deep"), deep = true).also { rigs += it }
        var looks = 0L
        rig.stopwatch = { 2_000_000 * looks++ }
        rig.join()
        fun reaches() = rig.link.hellos().last().reachesList.map { Triple(it.layers, it.stepMs, it.trunkMs) }
        assertEquals(listOf(Triple(1, 1f, 0.5f), Triple(2, 4f, 0f)), reaches())
        val below = FloatArray(TOY_SHAPE.expertSize) { 2f }
        val version = rig.version(toyBank(deep = true).replace(mapOf(ExpertId(2, 1) to below)))
        rig.plan(version, steps = 2)
        rig.blob(below)
        rig.turn(4)
        assertEquals(setOf(TOY_TOP, "trunk_l1_s4_r2"), rig.program.calls.filterNot { it.startsWith("predict") }.toSet())
        assertEquals(setOf(2f), rig.program.below.map { it[TOY_SHAPE.expertSize] }.toSet())
        assertEquals(listOf(ExpertId(3, 1)), rig.deltas().single().expertsList.map { ExpertId(it.layer, it.index) })
        rig.verdict(Kind.DELTA, rig.link.bodies(Topic.DELTA).single())

        rig.killAndStart()
        rig.join()
        val (top, both) = reaches()
        assertTrue(top.second >= 2f && top.third > 0f, "$top")
        assertEquals(4 * top.second, both.second, 1e-3f)
        rig.program.calls.clear()
        rig.plan(version, round = 2, steps = 1, train = listOf(ExpertId(2, 0), ExpertId(3, 1)))
        rig.turn(3)
        assertEquals(listOf(2, 3), rig.deltas().single().expertsList.map { it.layer })
        assertEquals(listOf("train_m1_f2_s4_r1_b3"), rig.program.calls.filter { it.startsWith("train") })
    }

    /** What this package cannot train is told, and the next plan is taken. */
    @Test
    fun aPlanThatDoesNotFitIsRefusedHere() {
        val (rig, version) = member()
        rig.plan(version, train = listOf(ExpertId(3, 0), ExpertId(3, 1)))
        rig.turn()
        assertTrue("trains 2 experts at a layer and the top 1 layers" in rig.board.state.notice, rig.board.state.notice)
        assertEquals(WorkState.IDLE, rig.work())
        rig.plan(version, round = 2, steps = 1)
        rig.turn(2)
        assertEquals(listOf(2L), rig.deltas().map { it.round })
    }

    /** A diverged training sends nothing, says so, and is not gone on with after a restart. */
    @Test
    fun aDivergedTrainingSendsNothing() {
        val (rig, version) = member()
        rig.program.diverges = true
        rig.plan(version, steps = 2)
        rig.turn(4)
        assertEquals(emptyList(), rig.deltas())
        assertTrue("training diverged, nothing is sent" in rig.board.state.notice)
        rig.killAndStart()
        assertEquals(WorkState.IDLE, rig.work())
    }

    /** A block that was damaged on the disk is noticed when its version is used, and fetched again. */
    @Test
    fun aDamagedBlobIsFetchedAgain() {
        val rig = rig()
        rig.join()
        val moved = FloatArray(TOY_SHAPE.expertSize) { 2f }
        val version = rig.version(toyBank().replace(mapOf(TOY_EXPERT to moved)))
        rig.blob(moved)
        File(folder, "a/state/blobs").listFiles()!!.single().writeText("damaged")
        rig.plan(version, steps = 1)
        rig.turn()
        assertEquals(WorkState.WAITING to 2, rig.work() to rig.link.asked.size)
        rig.blob(moved)
        rig.turn(2)
        assertEquals(1, rig.deltas().size)
    }

    /** While the network costs by the byte nothing large goes out or is asked for; afterwards it does at once. */
    @Test
    fun aMeteredNetworkCarriesNothingLarge() {
        var unmetered = true
        val asked = Constraints(needsIdle = false)
        var seconds = 0.0
        val gate = Gate(asked, { seconds++ }) { Conditions(true, true, 100, unmetered, Heat.NONE, 1L shl 40) }
        val (rig, version) = member("a", PartOptions(gate = gate, checkpointSeconds = 0.0))
        rig.plan(version, steps = 3)
        unmetered = false
        rig.turn(5)
        assertEquals(Doing.PAUSED to setOf(Hindrance.METERED), rig.board.state.run { doing to hindrances })
        assertEquals(1, rig.board.state.step)
        unmetered = true
        rig.turn(4)
        assertEquals(1, rig.deltas().size)
        unmetered = false
        rig.version(toyBank().replace(mapOf(TOY_EXPERT to FloatArray(TOY_SHAPE.expertSize) { 3f })), number = 2)
        rig.turn(60, seconds = 1.0)
        assertEquals(1 to 0, rig.deltas().size to rig.link.asked.size)
        unmetered = true
        rig.turn(2)
        assertEquals(2 to 1, rig.deltas().size to rig.link.asked.size)
    }

    /** What int8 left behind is added to the next delta of the block, if the first was accepted. */
    @Test
    fun residualsCountOnlyAfterAcceptance() {
        fun second(name: String, code: Code): Delta {
            val (rig, version) = member(name)
            rig.plan(version, steps = 1, codec = Codec.INT8_VALUE)
            rig.turn(2)
            rig.verdict(Kind.DELTA, rig.link.bodies(Topic.DELTA).single(), code)
            rig.plan(version, round = 2, steps = 1, codec = Codec.FLOAT32_VALUE)
            rig.turn(2)
            return rig.deltas().last()
        }
        val (accepted, refused) = second("yes", Code.ACCEPTED) to second("no", Code.STALE)
        assertEquals(accepted.round, refused.round)
        val residual = decodeValues(accepted.getExperts(0).values.toByteArray(), TOY_SHAPE.expertSize.toLong())
            .zip(decodeValues(refused.getExperts(0).values.toByteArray(), TOY_SHAPE.expertSize.toLong())) { a, b -> a - b }
        assertTrue(residual.any { it != 0f } && residual.all { it in -0.1f..0.1f }, "$residual")
    }

    /** Bytes that are not what they claim, and events at the wrong time, change nothing. */
    @Test
    fun nonsenseChangesNothing() {
        val (rig, _) = member()
        val before = rig.device.session
        for (topic in listOf(Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT)) {
            rig.hear(topic, byteArrayOf(-1, -1, -1), if (topic == Topic.GATEWAY || topic == Topic.VERSION) "" else "me")
            assertTrue("ignored a message on ${topic.word}" in rig.board.state.notice)
        }
        rig.verdict(Kind.DELTA, byteArrayOf(1))
        assertEquals(before, rig.device.session)
        assertEquals(1, rig.board.state.verdicts.size)
    }

    /** The gateway's last round ends the run, once its version is here; so does a number of rounds. */
    @Test
    fun theEndOfTheFederationEndsTheRun() {
        val (rig, _) = member()
        assertTrue(!rig.device.finished())
        rig.gateway(finished = true, version = 1)
        assertTrue(rig.device.finished())
        val (short, version) = member("short", PartOptions(rounds = 1, checkpointSeconds = 0.0))
        short.plan(version, steps = 1)
        short.turn(2)
        assertTrue(!short.device.finished())
        short.verdict(Kind.DELTA, short.link.bodies(Topic.DELTA).single())
        assertTrue(short.device.finished())
    }

    /** With other examples a plan is not gone on with: the head may not know their labels, and only the gateway knows. */
    @Test
    fun aPlanBegunOnOtherExamplesWaitsForTheGateway() {
        val (rig, version) = member()
        rig.plan(version, steps = 30)
        rig.turn(3)
        rig.killAndStart(listOf("louder" to "music"))
        assertEquals(WorkState.IDLE, rig.work())
    }

    /** A lost broker is told with its reason; what is resumed goes on training without any. */
    @Test
    fun aLostBrokerDoesNotStopTraining() {
        val (rig, version) = member()
        rig.plan(version, steps = 30)
        rig.turn()
        rig.down()
        assertTrue("no broker: it is dark" in rig.board.state.notice)
        rig.turn(3)
        assertTrue(rig.board.state.step >= 4)
        rig.killAndStart()
        rig.turn(3)
        assertEquals(WorkState.TRAINING to LinkState.OFFLINE, rig.device.session.work to rig.device.session.link)
        assertNull(rig.link.said.firstOrNull())
    }
}
