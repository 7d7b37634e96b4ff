package org.edgeexperts.core

import org.edgeexperts.wire.Architecture
import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankException
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.Tier
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sharedExpert

private const val FINAL_SHARE = 0.1
private const val CHECKPOINT_S = 5.0
private const val PERSONAL = "personal"
private const val BEGUN = "local"
private const val CHECKPOINT = "local_checkpoint"

/**
 * Training on this device's examples alone, and the personal bank that it gives.
 *
 * Every run trains the next experts of the ring with fresh moments, as rounds of a federation do. Order of writes on disk:
 * begin writes the bank that the run starts from, steps write checkpoints, the end writes the personal bank; then the other
 * two go. The run at hand is named by its options, its examples and the bank it builds on; another starts anew.
 */
internal class LocalTraining(
    private val store: Store,
    private val versions: Versions,
    private val shape: Architecture,
    private val board: StateBoard,
    private val clock: Clock,
    private val pause: Pause,
) {
    private val federation = shape.digest()

    /** Returns the personal bank, if it builds on the version that is in use. */
    fun personal(): Numbered? {
        val (number, digest) = versions.latest()
        val record = store.recall(PERSONAL)?.takeIf { it.head["version"] == hex(digest) }
        return record?.let { bankOf(it, PERSONAL) }?.let { Numbered(it, number, digest) }
    }

    private fun bankOf(record: Record, name: String): Bank? = try {
        Bank.fromBytes(record.body, shape.bankShape(), federation, name)
    } catch (_: BankException) { // of a package that is no longer there
        null
    }

    /** Whether there is one, without reading its values. */
    val exists: Boolean get() = store.recall(PERSONAL)?.head?.get("version") == hex(versions.latest().second)

    /** What the last run did not reach, while its bank is in use. */
    val shortfalls: Set<Shortfall>
        get() {
            val names = if (exists) store.recall(PERSONAL)?.head?.get("shortfalls") as? List<*> else null
            return Shortfall.entries.filter { it.name in names.orEmpty() }.toSet()
        }

    fun forget() = listOf(PERSONAL, BEGUN, CHECKPOINT).forEach(store::remove)

    private fun runs(): Long = store.recall(PERSONAL)?.head?.get("runs") as Long? ?: 0

    /**
     * Makes the steps of [options].
     *
     * @param sums class sums of the examples, asked for where the head has to be started; null when it was stopped.
     * @param step told after each step.
     * @param stop asked before each step.
     * @return whether every step was made.
     */
    fun run(
        tools: Tools,
        watch: Watch,
        options: TrainOptions,
        sums: () -> ClassSums?,
        step: (LossPoint) -> Unit,
        stop: () -> Boolean,
    ): Boolean {
        val marks = marks(tools.source, options)
        val bank = begin(marks, sums) ?: return false
        val task = task(options, watch.largest)
        val trainer = Trainer(tools, bank, task, watch.begin(needOf(task.train, bank.shape)))
        restore(trainer, marks)
        board.change { beginning(trainer, task.steps) }
        try {
            if (!steps(trainer, watch, options.gate, { save(trainer, marks) }, step, stop)) return false
        } finally {
            if (!trainer.done) save(trainer, marks)
        }
        val trained = bank.replace(trainer.outcome().blocks)
        val told = assessed(tools, bank, trained)
        finish(trained, told)
        board.change { copy(shortfalls = told) }
        return true
    }

    /** Held-out texts there are none of here, so it is measured on the examples themselves. */
    private fun assessed(tools: Tools, before: Bank, after: Bank): Set<Shortfall> {
        val rows = sample(tools.source.size)
        val (first, last) = listOf(before, after).map { bank ->
            val predictor = Predictor(tools.program, tools.manifest, tools.tokenizer, bank)
            predicted(predictor, tools.source, rows).also { predictor.release() }
        }
        return shortfalls(first, last, rows.map { tools.source.labels[it] })
    }

    private fun steps(
        trainer: Trainer,
        watch: Watch,
        gate: Gate?,
        save: () -> Unit,
        told: (LossPoint) -> Unit,
        stop: () -> Boolean,
    ): Boolean {
        var savedAt = clock.seconds()
        while (!trainer.done) {
            if (!open(gate, save, stop)) return false
            if (watch.look(trainer).isNotEmpty()) board.change { placed(trainer) }
            trainer.step()
            board.change { after(trainer).copy(doing = Doing.TRAINING, hindrances = emptySet()) }
            told(LossPoint(trainer.steps, trainer.losses.last()))
            if (clock.seconds() - savedAt >= CHECKPOINT_S) {
                save()
                savedAt = clock.seconds()
            }
        }
        return true
    }

    private fun save(trainer: Trainer, marks: Map<String, Any?>) {
        if (trainer.steps > 0) store.write(CHECKPOINT, Record.of(marks, trainer.checkpoint()))
    }

    private fun restore(trainer: Trainer, marks: Map<String, Any?>) {
        val saved = store.recall(CHECKPOINT)?.takeIf { it.head == marks } ?: return
        try {
            trainer.restore(saved.tensors())
        } catch (_: DamagedException) { // of another program: the run starts again
            store.remove(CHECKPOINT)
        }
    }

    /** Waits while the gate is closed; false when the run must end. */
    private fun open(gate: Gate?, save: () -> Unit, stop: () -> Boolean): Boolean {
        var saved = false
        while (!stop()) {
            val against = gate?.check().orEmpty()
            if (Hindrance.TIME_IS_UP in against) return false
            if (against.isEmpty()) return true
            if (!saved) save() // the app may end soon
            saved = true
            board.change { copy(doing = Doing.PAUSED, hindrances = against) }
            pause.await()
        }
        return false
    }

    private fun marks(source: ExampleSource, options: TrainOptions): Map<String, Any?> = mapOf(
        "data" to hex(source.digest),
        "version" to hex(versions.latest().second),
        "runs" to runs(),
        "steps" to options.steps,
        "rates" to listOf(options.learningRate, options.sharedShare, options.headShare),
        "seed" to options.seed,
    ).mapValues { (_, value) -> if (value is Int) value.toLong() else value }

    /** Returns the bank that the run starts from: that of a run that was stopped, or the one in use. */
    private fun begin(marks: Map<String, Any?>, sums: () -> ClassSums?): Bank? {
        store.recall(BEGUN)?.takeIf { it.head == marks }?.let { bankOf(it, BEGUN) }?.let { return it }
        val latest = (personal() ?: versions.latestBank()).bank
        val bank = if (latest.learned) latest else withClassMeans(latest, sums() ?: return null)
        store.remove(CHECKPOINT)
        store.write(BEGUN, Record(marks, bank.toBytes(federation)))
        return bank
    }

    /** The package's own head knows nothing; class means of the examples are a start that a federation makes, too. */
    private fun withClassMeans(bank: Bank, sums: ClassSums): Bank = bank.replace(sums.classMeanHead(shape.logitScale))

    private fun task(options: TrainOptions, tier: Tier): Task {
        val (experts, slots) = shape.experts.toInt() to tier.trainedSlots.toInt()
        val first = runs() * slots
        val chosen = (0 until minOf(slots, experts)).map { ((first + it) % experts).toInt() }
        val layers = shape.adaptedLayers.takeLast(tier.layers.toInt()).map(Long::toInt)
        val shared = if (shape.sharedRank > 0 && options.sharedShare > 0) layers.map(::sharedExpert) else emptyList()
        val head = if (options.headShare > 0) listOf(HEAD) else emptyList()
        return Task(
            train = layers.flatMap { layer -> chosen.map { ExpertId(layer, it) } } + shared + head,
            steps = options.steps,
            learningRate = options.learningRate,
            sharedLearningRate = options.learningRate * options.sharedShare,
            headLearningRate = options.learningRate * options.headShare,
            seed = options.seed + runs(),
            decay = 1.0 to FINAL_SHARE,
        )
    }

    private fun finish(bank: Bank, told: Set<Shortfall>) {
        val version = hex(versions.latest().second)
        val head = mapOf("version" to version, "runs" to runs() + 1, "shortfalls" to told.map { it.name })
        store.write(PERSONAL, Record(head, bank.toBytes(federation)))
        store.remove(BEGUN)
        store.remove(CHECKPOINT)
    }
}
