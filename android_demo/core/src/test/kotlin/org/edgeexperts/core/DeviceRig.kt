package org.edgeexperts.core

import org.edgeexperts.wire.Address
import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Block
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.GatewayState
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Offer
import org.edgeexperts.wire.Plan
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.Verdict
import org.edgeexperts.wire.Version
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.refs
import org.edgeexperts.wire.sha256
import org.edgeexperts.wire.split
import org.edgeexperts.wire.versionDigest
import java.io.File
import java.util.concurrent.LinkedBlockingQueue

/** A link without a broker: what the device says is kept, what a test says arrives at once. */
class FakeLink : Link {
    val said = ArrayList<Pair<Topic, List<ByteArray>>>()
    val asked = ArrayList<String>()
    val wants = ArrayList<ByteArray>()
    val released = ArrayList<String>()
    val listened = LinkedHashSet<Topic>()
    var called = 0
    override var busy = false
    override val bytesUp: Long get() = said.sumOf { (_, payloads) -> payloads.sumOf { it.size.toLong() } }
    override val bytesDown = 0L

    override fun start() = Unit

    override fun send(topic: Topic, payloads: Sequence<ByteArray>) {
        said += topic to payloads.toList()
    }

    override fun request(blobs: List<String>, want: ByteArray) {
        MessageKind.WANT.decode(want)
        asked += blobs
        wants += want
    }

    override fun release(blobs: Set<String>) {
        released += blobs
    }

    override fun listen(topic: Topic) {
        listened += topic
    }

    override fun stop(bye: ByteArray) = send(Topic.BYE, sequenceOf(bye))

    fun bodies(topic: Topic): List<ByteArray> = said.filter { it.first == topic }.map { joinedBody(it.second) }

    fun offers() = said.filter { it.first == Topic.OFFER }.map { MessageKind.OFFER.decode(it.second.single()) }

    fun hellos() = said.filter { it.first == Topic.HELLO }.map { MessageKind.HELLO.decode(it.second.single()) }
}

/** A device that a test turns by hand, second by second, and kills and starts again over the same folder. */
internal class DeviceRig(
    private val folder: File,
    private val options: PartOptions = PartOptions(checkpointSeconds = 0.0),
    private val gatewayKey: ByteArray = ByteArray(0),
    deep: Boolean = false,
    private val signer: (ByteArray) -> MaskSigner? = { null },
) {
    private val toy = writeToy(File(folder, "package"), deep = deep)
    private val federation = toy.manifest.architecture.digest()
    private val inbox = LinkedBlockingQueue<LinkEvent>()
    var store = Store(File(folder, "state"))
        private set
    val program = ToyProgram(toy)
    val board = StateBoard(DeviceState())
    var now = 0.0

    /** Nanoseconds, for step times. */
    var stopwatch = { (now * 1e9).toLong() }
    var budget = Budget()
    var link = FakeLink()
    var device = start()

    /** Whether the gateway asks for all of what is offered, at once. */
    var calls = true

    private fun start(): Device {
        val named = NamedProgram(program, toy.manifest)
        val examples = Examples(store, toy.manifest.architecture.labels)
        if (examples.usable == 0) examples.add(listOf("wake me" to "alarm", "play" to "music", "play song" to "music"))
        val tokenizer = Tokenizer.read(toy.path("tokenizer.json"))
        val tools = Tools(named, toy.manifest, tokenizer, examples.snapshot(), { stopwatch() }, null)
        val tiers = toy.manifest.tiers
        val work = Work(tools, store, Versions(store, toy), "me", Watch(tiers, tiers[0], ::Signal, ::now), signer(federation))
        val sums = checkNotNull(classSums(named, toy.manifest, tokenizer, tools.source))
        val clock = Clock(0.0, { now }, { 0 }, { 0.0 })
        val identity = Identity("me", toy.digest, "toy", budget, sums, gatewayKey)
        return Device(identity, work, link, inbox, board, options, clock) { false }
    }

    /** Ends the process without a farewell, and starts another, with these examples more. */
    fun killAndStart(more: List<Pair<String, String>> = emptyList()) {
        store.close()
        inbox.clear()
        store = Store(File(folder, "state"))
        link = FakeLink()
        if (more.isNotEmpty()) Examples(store, toy.manifest.architecture.labels).add(more)
        device = start()
    }

    fun close() = store.close()

    // --- time -------------------------------------------------------------------------------------------------

    fun turn(times: Int = 1, seconds: Double = 0.0) = repeat(times) {
        device.turn()
        while (calls && link.called < link.offers().size) {
            call(link.offers()[link.called++])
        }
        now += seconds
    }

    /** Asks for chunks of what was offered; all of them when [missing] is empty. */
    fun call(offer: Offer, missing: ByteArray = ByteArray(0)) =
        answer(offer.kind, offer.digest.toByteArray(), Code.INCOMPLETE, 20f, missing)

    // --- what the gateway says --------------------------------------------------------------------------------

    fun hear(topic: Topic, payload: ByteArray, name: String = "") {
        inbox += LinkEvent.Arrived(Address("home", topic, name), payload)
        turn()
    }

    fun up() {
        inbox += LinkEvent.Up
        turn()
    }

    fun down(first: Boolean = true) {
        inbox += LinkEvent.Down("it is dark", 1.0, first)
        turn()
    }

    fun gateway(session: Int = 1, digest: ByteArray = federation, finished: Boolean = false, version: Long = 0) = hear(
        Topic.GATEWAY,
        GatewayState.newBuilder().setWireVersion(WIRE_VERSION).setFederationDigest(digest.asField()).setOnline(true)
            .setSession(ByteArray(16) { session.toByte() }.asField()).setFinished(finished).setVersion(version).build()
            .toByteArray(),
    )

    fun verdict(kind: Kind, body: ByteArray, code: Code = Code.ACCEPTED, retry: Float = 0f, statistics: Boolean = false) =
        answer(kind, sha256(body), code, retry, statistics = statistics)

    fun answer(
        kind: Kind,
        digest: ByteArray,
        code: Code = Code.ACCEPTED,
        retry: Float = 0f,
        missing: ByteArray = ByteArray(0),
        statistics: Boolean = false,
    ) = hear(
        Topic.VERDICT,
        Verdict.newBuilder().setWireVersion(WIRE_VERSION).setKind(kind).setDigest(digest.asField()).setCode(code)
            .setRetryAfterS(retry).setWantStatistics(statistics).setMissing(missing.asField()).build().toByteArray(),
        "me",
    )

    /** Connects and is welcomed. */
    fun join() {
        up()
        gateway()
        welcome()
    }

    fun welcome(statistics: Boolean = false) =
        verdict(Kind.HELLO, link.said.last { it.first == Topic.HELLO }.second.single(), statistics = statistics)

    /** Announces a bank as a version; returns the version's digest. */
    fun version(bank: Bank, number: Long = 1, round: Long = 0): ByteArray = version(bank.digests(), number, round)

    /** Announces a version of these blocks; returns its digest. */
    fun version(digests: Map<ExpertId, ByteArray>, number: Long, round: Long = 0): ByteArray {
        val blocks = digests.toSortedMap().map { (id, digest) ->
            Block.newBuilder().setLayer(id.layer).setIndex(id.index).setDigest(digest.asField()).build()
        }
        val message = Version.newBuilder().setWireVersion(WIRE_VERSION).setFederationDigest(federation.asField())
            .setVersion(number).setRound(round).setDigest(versionDigest(digests).asField()).addAllBlocks(blocks).build()
        hear(Topic.VERSION, message.toByteArray())
        return versionDigest(digests)
    }

    fun blob(values: FloatArray) {
        blob(encodeValues(values))
    }

    fun blob(body: ByteArray) {
        split(body, Kind.BLOB).forEach { hear(Topic.BLOB, it, hex(sha256(body))) }
    }

    /** Gives a plan; returns its bytes. */
    fun plan(
        version: ByteArray,
        round: Long = 1,
        steps: Int = 3,
        train: List<ExpertId> = listOf(TOY_EXPERT),
        codec: Int = 0,
        more: Plan.Builder.() -> Unit = {},
    ): ByteArray = Plan.newBuilder().setWireVersion(WIRE_VERSION).setDevice("me").setRound(round).setBaseVersion(1)
        .setVersionDigest(version.asField()).addAllTrain(refs(train)).setSteps(steps).setLearningRate(0.125f).setSeed(9)
        .setDeadlineS(60f).setCodecValue(codec).apply(more).build().toByteArray().also { hear(Topic.PLAN, it, "me") }
}
