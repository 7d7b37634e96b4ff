/**
 * One round of local steps: a task's experts in a program's slots, step by step, resumable after any of them.
 *
 * Axes: L adapted layers, k of them that a tier trains, M experts, m trained slots, H held slots, C labels, B texts of a step at
 * most, N examples. A run is a function of (bank, task, examples): a step's texts follow from the seed and from how many the steps before took, so a run
 * that was killed and went on from a checkpoint ends with the same values as one that was not, bit for bit.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.HEAD
import org.edgeexperts.wire.HYPER_SIZE
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.NamedTensor
import org.edgeexperts.wire.Ports
import org.edgeexperts.wire.Tier
import org.edgeexperts.wire.hyperValues
import org.edgeexperts.wire.sharedExpert

private const val NANOS_PER_MS = 1e6

// Of a checkpoint: texts that were taken, which is where the run stands in its order, their tokens, and places.
private const val CURSOR = "taken"

/**
 * What to train.
 *
 * @property train blocks, any order.
 * @property steps optimizer steps.
 * @property learningRate of experts; the other two of shared experts and of the head, where they are trained.
 * @property weightDecay decoupled (AdamW).
 * @property seed of the batch order.
 * @property decay factors on the learning rates at the first step and after the last, linear between.
 * @property use top-k only: u of each layer, [M] by layer number.
 * @property pressure top-k only: Lambda.
 */
public class Task(
    public val train: List<ExpertId>,
    public val steps: Int,
    public val learningRate: Double,
    public val sharedLearningRate: Double = 0.0,
    public val headLearningRate: Double = 0.0,
    public val weightDecay: Double = 0.0,
    public val seed: Long = 0,
    public val decay: Pair<Double, Double> = 1.0 to 1.0,
    public val use: Map<Int, FloatArray> = emptyMap(),
    public val pressure: Double = 0.0,
)

/**
 * What training needs.
 *
 * @property program runs the tier's methods.
 * @property manifest of the package.
 * @property tokenizer of the package.
 * @property source N examples.
 * @property nanos a clock, for step times only.
 */
public class Tools internal constructor(
    public val program: Executor,
    public val manifest: Manifest,
    public val tokenizer: Tokenizer,
    public val source: ExampleSource,
    public val nanos: () -> Long,
    private val cache: PrefixCache?,
) {
    public constructor(program: Executor, manifest: Manifest, tokenizer: Tokenizer, source: ExampleSource) :
        this(program, manifest, tokenizer, source, System::nanoTime, null)

    /** What computes a tier's prefixes with a bank's lower layers; null when its method takes token ids. */
    internal fun trunk(tier: Tier, bank: Bank): Trunk? {
        if (tier.trunkMethods.isEmpty()) return null
        return Trunk(program, manifest, tier, cache, lowerInputs(bank, tier.layers.toInt()), nanos)
    }

    /** Removes the prefixes that no training with this bank uses. */
    internal fun dropOlder(bank: Bank) {
        cache?.let { dropOlder(it, manifest, bank) }
    }
}

/**
 * Runs one task; call [step] until [done].
 *
 * @param bank to start from; not changed.
 * @param task what to train.
 * @param tier in whose slots.
 * @throws PlanException when the task does not fit the tier or the bank.
 */
public class Trainer(private val tools: Tools, private val bank: Bank, private val task: Task, tier: Tier) {
    private val manifest = tools.manifest
    private val architecture = manifest.architecture
    private val order = EntryOrder(task.seed, tools.source.size)

    /** Of the bank. */
    internal val shape: BankShape get() = bank.shape

    /** What the task needs of a tier. */
    internal val need: Need = needOf(task.train, bank.shape)

    /** Where training is. */
    public var tier: Tier = tier
        private set

    /** Where the experts sit. */
    public var slots: Slots = place(task.train, architecture, tier)
        private set
    private var values = startValues(bank, slots)
    private var trunk = tools.trunk(tier, bank)
    private var stream = texts(tier)
    private val rates = learningRates()
    private var heldRows = frozenSharedRows()
    private var here = Stretch()

    // [L, M], by expert, because tiers hold different ones.
    private val routed = List(bank.shape.layers.size) { DoubleArray(bank.shape.experts.toInt()) }
    private val seen = List(bank.shape.layers.size) { DoubleArray(bank.shape.experts.toInt()) }
    private val lossesSoFar = ArrayList<Double>()
    private val times = ArrayList<Double>()

    init {
        tools.dropOlder(bank)
    }

    /** Adapted layers below those that the tier trains. */
    private val below: Int get() = bank.shape.layers.size - tier.layers.toInt()

    /** How full the steps were. */
    public var fill: Fill = Fill()
        private set

    /** Loss of each step that was made. */
    public val losses: List<Double> get() = lossesSoFar

    /** Steps that were made. */
    public val steps: Int get() = lossesSoFar.size

    /** Whether every step was made. */
    public val done: Boolean get() = steps >= task.steps

    /** Milliseconds of the last step; 0 before the first. */
    public val lastMs: Double get() = times.lastOrNull() ?: 0.0

    /**
     * Makes one step and returns its loss.
     *
     * @throws EngineException when the program fails; nothing of the step is kept.
     */
    public fun step(): Double {
        val began = tools.nanos()
        val before = trunk?.times?.ms ?: 0.0
        val texts = nextTexts()
        val outputs = runStep(tools.program, manifest, tier, withValues(texts.inputs))
        values = values.mapValues { (name, value) -> outputs[name] as TensorValue.Floats? ?: value }
        keepFrozenShared()
        val tokens = texts.tokens.toDouble()
        val usage = outputs.floats(Ports.USAGE)
        val held = tier.heldSlots.toInt()
        slots.held.forEachIndexed { row, experts ->
            experts.forEachIndexed { slot, index ->
                routed[below + row][index] += usage[row * held + slot].toDouble() * tokens
                seen[below + row][index] += tokens
            }
        }
        fill += Fill(1, texts.texts.toLong(), texts.tokens.toLong(), tier.rows * tier.seqLen)
        lossesSoFar += outputs.floats(Ports.LOSS)[0].toDouble()
        times += (tools.nanos() - began) / NANOS_PER_MS
        here.add(times.last() - ((trunk?.times?.ms ?: 0.0) - before), texts.texts)
        return lossesSoFar.last()
    }

    /** How fast this process stepped in the tier at hand; null before it did. */
    internal val pace: Pace? get() = here.pace(trunk?.times?.textMs ?: 0.0)

    /** Returns the inputs of the next step by name. */
    public fun stepInputs(): Tensors = withValues(nextTexts().inputs)

    private fun nextTexts(): StepTexts = stream.step(fill.texts)

    private fun texts(tier: Tier) = TextStream(
        tools.source, tools.tokenizer, order, bank.shape.labels.toInt(), capacityOf(tier), trunk,
    )

    private fun withValues(batch: Tensors): Tensors {
        val layers = slots.held.size
        val (held, trained) = tier.heldSlots.toInt() to tier.trainedSlots.toInt()
        val steering = mapOf(
            Ports.GATE_SCALE to floatsOf(FloatArray(layers * held) { slots.gateScale }, layers, held),
            Ports.UPDATE_MASK to floatsOf(joined(slots.updateMask), layers, trained),
            Ports.HYPER to hyper(),
        )
        return values + batch + steering + if (architecture.gate == "topk") balance() else emptyMap()
    }

    /**
     * Goes on in another tier; what was learned is carried over to the bit.
     *
     * @throws PlanException when the task needs more slots or layers than it has, or its batches are others; nothing is changed
     *   then.
     */
    public fun switch(tier: Tier) {
        if (tier.batchSize != this.tier.batchSize) {
            throw PlanException(
                "${tier.method} takes ${tier.batchSize} texts a step, ${this.tier.method} the same task's " +
                    "${this.tier.batchSize}",
            )
        }
        val after = place(task.train, architecture, tier)
        values = carried(learned(values, need), bank, after)
        fun methods(of: Tier) = setOf(of.method, of.applyMethod) + of.trunkMethods - ""
        // Before the next is loaded: there may be no room for both.
        (methods(this.tier) - methods(tier)).forEach(tools.program::unload)
        trunk = tools.trunk(tier, bank)
        stream = texts(tier)
        slots = after
        this.tier = tier
        heldRows = frozenSharedRows()
        here = Stretch()
    }

    /** Returns all that is needed to go on later, in this tier or in any that has room for the task. */
    public fun checkpoint(): Map<String, NamedTensor> {
        val kept = learned(values, need).mapValues { (_, value) -> NamedTensor.of(value.values, value.shape.toList()) }
        val sums = mapOf("routed" to joinedSums(routed), "seen" to joinedSums(seen))
        val series = mapOf("losses" to lossesSoFar.toDoubleArray(), "step_ms" to times.toDoubleArray())
        val cursor = mapOf(CURSOR to doubleArrayOf(fill.texts.toDouble(), fill.tokens.toDouble(), fill.places.toDouble()))
        return kept + (sums + series + cursor).mapValues { (_, numbers) -> NamedTensor.of(numbers) }
    }

    /**
     * Goes on from a checkpoint of the same task, made in whatever tier.
     *
     * @throws DamagedException when it is of another task or program; nothing is changed then.
     */
    public fun restore(saved: Map<String, NamedTensor>) {
        val series = setOf("losses", "step_ms")
        fun forms(tensors: Map<String, NamedTensor>) =
            tensors.mapValues { (name, tensor) -> tensor.dtype to if (name in series) emptyList() else tensor.shape }
        if (forms(saved) != forms(checkpoint())) {
            throw DamagedException("the checkpoint belongs to another task or program; the round starts again")
        }
        val (losses, stepMs) = series.map { saved.getValue(it).doubles() }
        val kept = (saved - series - "routed" - "seen" - CURSOR).mapValues { (_, tensor) ->
            TensorValue.Floats(tensor.shape.toLongArray(), tensor.floats())
        }
        values = carried(kept, bank, slots)
        for ((name, sums) in listOf("routed" to routed, "seen" to seen)) {
            val numbers = saved.getValue(name).doubles()
            sums.forEachIndexed { row, sum -> numbers.copyInto(sum, 0, row * sum.size, (row + 1) * sum.size) }
        }
        lossesSoFar.clear()
        lossesSoFar += losses.asIterable()
        times.clear()
        times += stepMs.asIterable()
        val (taken, tokens, places) = saved.getValue(CURSOR).doubles().map(Double::toLong)
        fill = Fill(steps, taken, tokens, places)
    }

    /** Returns what the steps made so far gave (at least one). */
    public fun outcome(): Outcome {
        val rows = trainedRows()
        return Outcome(
            blocks = trainedBlocks(task.train, bank, slots, values),
            examples = rows.size,
            labelCounts = labelCounts(tools.source, rows, bank.shape.labels.toInt()),
            losses = lossesSoFar.toList(),
            stepMs = median(times),
            routed = ofHeld(routed),
            seen = ofHeld(seen),
        )
    }

    private fun ofHeld(sums: List<DoubleArray>): List<FloatArray> = slots.held.mapIndexed { row, held ->
        FloatArray(held.size) { sums[below + row][held[it]].toFloat() }
    }

    private fun trainedRows(): IntArray {
        val count = tools.source.size
        if (fill.texts >= count) return IntArray(count) { it }
        return IntArray(fill.texts.toInt()) { order.row(it.toLong()) }
    }

    /** Rates of experts, shared experts, head; 0 keeps what the task does not train bit for bit. */
    private fun learningRates(): List<Double> = listOf(
        task.learningRate,
        if (task.train.any(ExpertId::shared)) task.sharedLearningRate else 0.0,
        if (HEAD in task.train) task.headLearningRate else 0.0,
    )

    /** Rows of the tier's shared experts that must not move although others do: the program has one rate for all of them. */
    private fun frozenSharedRows(): List<Int> {
        val moving = task.train.filter(ExpertId::shared).map { it.layer.toLong() }.toSet()
        if (moving.isEmpty() || bank.shape.sharedSize == 0) return emptyList()
        val layers = slots.layers(bank.shape)
        return layers.indices.filter { layers[it] !in moving }
    }

    private fun keepFrozenShared() {
        if (heldRows.isEmpty()) return
        val shared = values.getValue(Ports.SHARED)
        val kept = shared.values.copyOf()
        for (row in heldRows) {
            bank.block(sharedExpert(bank.shape.layers[below + row].toInt())).copyInto(kept, row * bank.shape.sharedSize)
        }
        values = values + (Ports.SHARED to TensorValue.Floats(shared.shape, kept))
    }

    private fun hyper(): TensorValue.Floats {
        val (first, last) = task.decay
        val factor = first + (last - first) * steps / task.steps
        val (experts, shared, head) = rates.map { it * factor }
        return floatsOf(hyperValues(steps + 1, experts, head, shared, task.weightDecay), HYPER_SIZE)
    }

    private fun balance(): Tensors {
        val held = tier.heldSlots.toInt()
        val experts = bank.shape.experts.toInt()
        val target = slots.held.map { FloatArray(held) { (1.0 / held).toFloat() } }.toMutableList()
        val weight = FloatArray(slots.held.size)
        slots.layers(bank.shape).forEachIndexed { row, layer ->
            val use = task.use[layer.toInt()]?.takeIf { it.size == experts } ?: return@forEachIndexed
            val mine = FloatArray(held) { use[slots.held[row][it]] }
            val mixed = FloatArray(held) { routed[below + row][slots.held[row][it]].toFloat() }
            target[row] = balanceTarget(mine, use.map(Float::toDouble).average())
            weight[row] = balanceWeight(task.pressure, divergence(mixed, mine), held, experts).toFloat()
        }
        return mapOf(
            Ports.BALANCE_TARGET to floatsOf(joined(target), target.size, held),
            Ports.BALANCE_WEIGHT to floatsOf(weight, weight.size),
        )
    }
}

internal fun median(numbers: List<Double>): Double {
    val sorted = numbers.sorted()
    val middle = sorted.size / 2
    return if (sorted.size % 2 == 1) sorted[middle] else (sorted[middle - 1] + sorted[middle]) / 2
}

private fun joinedSums(sums: List<DoubleArray>): DoubleArray = sums.flatMap(DoubleArray::asIterable).toDoubleArray()
