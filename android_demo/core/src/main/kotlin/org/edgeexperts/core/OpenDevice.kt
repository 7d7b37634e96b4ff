/** The one implementation of [EdgeDevice]: opens the parts, keeps them apart, runs what it is asked for. */
package org.edgeexperts.core

import org.edgeexperts.wire.Architecture
import org.edgeexperts.wire.Bye
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.NamedTensor
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.secure.FederationScope
import org.edgeexperts.wire.unhex
import java.io.Closeable
import java.io.File

private const val INBOX = 64 // messages that wait here; beyond, the broker waits
private const val CLASSIFICATION = "classification"
private const val STATISTICS = "statistics"
private const val ENROLLED = "enrolment"

/**
 * Opens a device; close it to let others use its folder.
 *
 * @param packageFolder the package, its digests checked ([PackageFolder.open], or [PackageStore] for one that an app brings).
 * @param stateFolder a private folder of this device: examples, progress, versions; made when it is not there.
 * @param engine what executes the program.
 * @param threads for the engine; 0 takes what the package was made for, as far as this machine has them.
 * @param sensors tell memory and temperature, from which the program size follows; the system's own figures unless given.
 * @throws ConfigException for a package that does not classify texts.
 * @throws TokenizerException for a tokenizer that is not read here.
 * @throws EngineException when the program cannot be opened.
 * @throws StoreException when the folder is in use, or belongs to another federation.
 */
public fun openDevice(
    packageFolder: PackageFolder,
    stateFolder: File,
    engine: Engine,
    threads: Int = 0,
    sensors: () -> Signal = ::readMemory,
): EdgeDevice {
    val manifest = packageFolder.manifest
    if (manifest.architecture.task != CLASSIFICATION) {
        throw ConfigException(
            "this device classifies texts, the package is for the task ${manifest.architecture.task}; " +
                "export one for classification, or use edge_runtime",
        )
    }
    val tokenizer = Tokenizer.read(packageFolder.path("tokenizer.json"))
    val store = Store(stateFolder)
    try {
        bindPackage(store, packageFolder)
        val count = if (threads > 0) threads else minOf(manifest.threads.toInt(), Runtime.getRuntime().availableProcessors())
        val opened = engine.load(packageFolder.path("program.pte"), count)
        val program = try {
            NamedProgram(opened, manifest)
        } catch (error: EngineException) {
            opened.close()
            throw error
        }
        return OpenDevice(packageFolder, stateFolder, engine.name, tokenizer, store, program, sensors)
    } catch (error: Exception) {
        store.close()
        throw error
    }
}

/** Binds a state folder to a federation; a new package of the same federation starts its plan anew. */
private fun bindPackage(store: Store, folder: PackageFolder) {
    val mine = mapOf("architecture" to hex(folder.manifest.architecture.digest()), "package" to hex(folder.digest))
    val bound = store.recall(ENROLLED)?.head.orEmpty()
    val architecture = bound["architecture"] ?: mine["architecture"]
    if (architecture != mine["architecture"]) {
        throw StoreException(
            "the state folder belongs to the federation ${"$architecture".take(12)}…, this package is for " +
                "${mine["architecture"]?.take(12)}…; choose another folder",
        )
    }
    if (bound["package"] != mine["package"]) {
        // Of a program that is no longer there.
        listOf("checkpoint", "local_checkpoint").forEach(store::remove)
    }
    if (!bound.entries.containsAll(mine.entries)) store.write(ENROLLED, Record(bound + mine))
}

private class OpenDevice(
    override val packageFolder: PackageFolder,
    stateFolder: File,
    private val engineName: String,
    private val tokenizer: Tokenizer,
    private val store: Store,
    private val program: NamedProgram,
    private val sensors: () -> Signal,
) : EdgeDevice {
    private val manifest = packageFolder.manifest
    private val architecture: Architecture = manifest.architecture
    private val clock = Clock()
    private val versions = Versions(store, packageFolder)
    private val kept = Examples(store, architecture.labels)
    private val prefixes = if (manifest.tiers.any { it.trunkMethods.isNotEmpty() }) DiskPrefixes(File(stateFolder, "prefixes")) else null
    private val board = StateBoard(
        DeviceState(
            version = versions.latest().first,
            examples = kept.usable,
            tier = shortName(manifest.tiers.first()),
            peakMemoryMib = peakMemoryMib(),
        ),
    )
    private val turn = Turn()
    private val pause = Pause()
    private val local = LocalTraining(store, versions, architecture, board, clock, pause)

    init {
        board.change { copy(personal = local.exists, shortfalls = local.shortfalls) }
    }

    @Volatile
    private var gate: Gate? = null // of what is under way

    @Volatile
    private var inbox: Inbox? = null // while it takes part

    @Volatile
    private var part: Part? = null
    private var reader: Triple<String, Boolean, Predictor>? = null // guarded by this

    override val labels: List<String> get() = architecture.labels

    override val state: DeviceState get() = board.state

    override fun listen(listener: (DeviceState) -> Unit): Closeable = board.listen(listener)

    // --- predicting -------------------------------------------------------------------------------------------

    override fun classify(text: String, prior: LabelPrior): Prediction {
        if (text.isBlank()) throw ExampleException("no text to classify; write or share one first")
        val (number, personal, predictor) = predictor()
        val probabilities = prior.applied(predictor.read(text).probabilities, kept.counts())
        val order = probabilities.indices.sortedByDescending { probabilities[it] }
        val scores = order.associate { labels[it] to probabilities[it].toDouble() }
        val best = labels[order[0]]
        return Prediction(best, scores.getValue(best), scores, number, personal, predictor.learned)
    }

    /** Version, whether it is personal, and what reads with that bank. */
    private fun predictor(): Triple<Long, Boolean, Predictor> = synchronized(this) {
        val (number, digest) = versions.latest()
        val personal = local.exists
        val current = reader?.takeIf { it.first == hex(digest) && it.second == personal }
        val predictor = current?.third ?: Predictor(
            program, manifest, tokenizer, (if (personal) local.personal() else null)?.bank ?: versions.latestBank().bank,
            ::shortOfMemory,
        )
        reader = Triple(hex(digest), personal, predictor)
        Triple(number, personal, predictor)
    }

    /** Frees what prediction has prepared: training needs the memory. */
    private fun releaseReader() = synchronized(this) { reader?.third?.release() }

    private fun predictWithOther() = synchronized(this) {
        releaseReader()
        reader = null
        board.change { copy(version = versions.latest().first, personal = local.exists, shortfalls = local.shortfalls) }
    }

    // --- examples ---------------------------------------------------------------------------------------------

    override fun addExample(text: String, label: String): Example = addExamples(listOf(text to label)).single()

    override fun addExamples(examples: List<Pair<String, String>>): List<Example> =
        kept.add(examples).also { board.change { copy(examples = kept.usable) } }

    override fun removeExample(id: Long): Boolean = kept.remove(id).also { board.change { copy(examples = kept.usable) } }

    override fun examples(): List<Example> = kept.all()

    // --- training ---------------------------------------------------------------------------------------------

    override fun train(options: TrainOptions, step: (LossPoint) -> Unit, stop: () -> Boolean): Ending {
        if (options.steps < 1) throw ConfigException("got ${options.steps} steps, expected 1 or more")
        return alone("trains") {
            releaseReader()
            val source = kept.snapshot()
            gate = options.gate
            val ended = { turn.closing || stop() }
            val sums = { sums(source, options.gate, ended) }
            val done = local.run(tools(source), watch(Budget(), source), options, sums, step, ended)
            if (done) predictWithOther()
            if (done) Ending.DONE else Ending.STOPPED
        }
    }

    override fun forgetTraining(): Unit = alone("forgets") {
        local.forget()
        predictWithOther()
    }

    private fun tools(source: ExampleSource) = Tools(program, manifest, tokenizer, source, System::nanoTime, prefixes)

    private fun watch(budget: Budget, source: ExampleSource): Watch {
        val largest = chooseTier(manifest, budget)
        return Watch(manifest.tiers.filter { excess(it, budget).isEmpty() }, largest, sensors, clock.seconds)
            .forTexts { firstLengths(source, tokenizer, largest.seqLen.toInt()) }
    }

    /** Does one thing at a time; afterwards the device is idle again. */
    private fun <T> alone(what: String, act: () -> T): T {
        turn.take(what)
        try {
            return act()
        } finally {
            rest()
        }
    }

    private fun rest() {
        gate = null
        board.change { copy(doing = Doing.IDLE, hindrances = emptySet()) }
        turn.give()
    }

    override fun wake() {
        gate?.changed()
        pause.end()
        inbox?.wake()
    }

    /** Class sums of the examples: remembered, or computed while the gate is open; null when stopped. */
    private fun sums(source: ExampleSource, gate: Gate?, stop: () -> Boolean): ClassSums? {
        val key = hex(source.digest) + hex(packageFolder.digest)
        store.recall(STATISTICS)?.takeIf { it.head["key"] == key }?.tensors()?.let {
            return ClassSums(it.getValue("counts").floats(), it.getValue("sums").floats())
        }
        board.change { copy(doing = Doing.PREPARING) }
        val sums = classSums(program, manifest, tokenizer, source) { stop() || closed(gate, stop) } ?: return null
        val tensors = mapOf("counts" to sums.counts, "sums" to sums.sums)
        store.write(STATISTICS, Record.of(mapOf("key" to key), tensors.mapValues { NamedTensor.of(it.value) }))
        return sums
    }

    /** Waits while the gate is closed; true when the run must end meanwhile. */
    private fun closed(gate: Gate?, stop: () -> Boolean): Boolean {
        while (true) {
            val against = gate?.check().orEmpty()
            val doing = if (against.isEmpty()) Doing.PREPARING else Doing.PAUSED
            board.change { copy(doing = doing, hindrances = against) }
            if (against.isEmpty()) return false
            if (stop() || Hindrance.TIME_IS_UP in against) return true
            pause.await()
        }
    }

    // --- a federation -----------------------------------------------------------------------------------------

    override fun takePart(enrolment: Enrolment, options: PartOptions): Participation {
        checkEnrolment(enrolment, packageFolder)
        val broker = brokerOf(enrolment)
        if (broker.url.tls) socketFactory(broker.identity) // certificates that cannot be used are told to the caller
        val signer = MaskSigner.of(broker.identity, FederationScope(enrolment.federation, architecture.digest()))
        signer?.fault?.takeIf(String::isNotEmpty)?.let { board.notice("no part in rounds under masks: $it") }
        val source = kept.snapshot()
        val budget = options.budget ?: Budget.fromProfile(manifest.profile)
        val watch = watch(budget, source)
        turn.take("takes part in a federation")
        gate = options.gate
        return Part(::wake) { stopped ->
            try {
                bindDevice(enrolment)
                releaseReader()
                val sums = sums(source, options.gate, stopped) ?: return@Part
                val work = Work(tools(source), store, versions, enrolment.device, watch, signer)
                member(enrolment, broker, work, budget, sums, options, stopped)
            } finally {
                predictWithOther()
                rest()
            }
        }.also { part = it }
    }

    private fun member(
        enrolment: Enrolment,
        broker: Broker,
        work: Work,
        budget: Budget,
        sums: ClassSums,
        options: PartOptions,
        stopped: () -> Boolean,
    ) {
        val inbox = Inbox(INBOX).also { this.inbox = it }
        val will = Bye.newBuilder().setWireVersion(WIRE_VERSION).setDevice(enrolment.device).build().toByteArray()
        val link = MqttLink(broker, enrolment.federation, enrolment.device, will, post = inbox::put)
        val key = unhex(enrolment.gatewayKey)
        val identity = Identity(enrolment.device, packageFolder.digest, engineName, budget, sums, key)
        try {
            Device(identity, work, link, inbox.queue, board, options, clock) { stopped().also { if (it) inbox.close() } }.run()
        } finally {
            this.inbox = null
            inbox.close()
        }
    }

    /** Another name in the federation starts without what was planned for the old one. */
    private fun bindDevice(enrolment: Enrolment) {
        val mine = mapOf("device" to enrolment.device, "federation" to enrolment.federation)
        val bound = store.recall(ENROLLED)?.head.orEmpty()
        if (bound.entries.containsAll(mine.entries)) return
        if ("device" in bound) WORK_RECORDS.forEach(store::remove)
        store.write(ENROLLED, Record(bound + mine))
    }

    override fun close() {
        if (!turn.close()) return
        pause.end()
        part?.end()
        turn.awaitEnd()
        program.close()
        store.close()
    }
}
