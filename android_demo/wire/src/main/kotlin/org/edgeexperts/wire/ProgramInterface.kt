/**
 * The program's interface: what every method of a program.pte takes and gives, as edge_runtime/wire/program_interface.py.
 *
 * Axes: L adapted layers, k of them that a method trains, M experts, m trained and f frozen slots, H = m + f, P values of an expert, Ps of a shared expert, C labels,
 * d width, B texts of a call at most, R rows of S places, N = R*S, V vocabulary of a language head. A call takes its texts
 * packed: a row holds whole texts, one behind the other ([pack]). A program's file does not name its tensors: they stand in
 * the order of SPEC.md, "Program interface", and a runtime finds one by the names below.
 */
package org.edgeexperts.wire

import kotlin.math.pow

/** Version of all that stands here; a manifest of another is refused. */
public const val PROGRAM_INTERFACE: Long = 3

/** AdamW's constants, inside every program; the bias corrections of [hyperValues] follow from the first two. */
public const val BETA1: Double = 0.9

/** Decay of the second moment. */
public const val BETA2: Double = 0.999

/** Numbers of `hyper`. */
public const val HYPER_SIZE: Int = 8

/** Where a step's numbers stand in `hyper`; the places after them are 0. */
public val HYPER_PLACES: Map<String, Int> = mapOf(
    "learning_rate" to 0, "head_learning_rate" to 1, "weight_decay" to 2, "first_correction" to 3,
    "second_correction" to 4, "shared_learning_rate" to 5,
)

/** Names of a program's inputs and outputs. */
public object Ports {
    public const val EXPERTS: String = "experts"

    /** [L - k, M, P]: what a trunk runs, and its tier does not train: every expert of the layers below. */
    public const val LOWER_EXPERTS: String = "lower_experts"
    public const val LOWER_SHARED: String = "lower_shared"
    public const val TRAINED: String = "trained"
    public const val FROZEN: String = "frozen"
    public const val SHARED: String = "shared"
    public const val HEAD: String = "head"
    public const val MEAN: String = "mean"
    public const val GATE_SCALE: String = "gate_scale"
    public const val UPDATE_MASK: String = "update_mask"
    public const val HYPER: String = "hyper"
    public const val SHARE: String = "share"
    public const val BALANCE_TARGET: String = "balance_target"
    public const val BALANCE_WEIGHT: String = "balance_weight"
    public const val IDS: String = "ids"

    /** A token's place in its own text, from 0. */
    public const val POSITIONS: String = "positions"

    /** [R, S, S]: 1 where a place may look at another, because both hold the same text. */
    public const val ATTEND: String = "attend"
    public const val MASK: String = "mask"

    /** [B, N]: weights by which the hidden states of all places make a text's one: 1/n at its n tokens, or 1 at its last. */
    public const val READOUT: String = "readout"
    public const val PREFIX: String = "prefix"
    public const val RESIDUAL: String = "residual"
    public const val LABELS: String = "labels"
    public const val TARGETS: String = "targets"
    public const val WEIGHTS: String = "weights"
    public const val LOSS: String = "loss"
    public const val LOGITS: String = "logits"
    public const val USAGE: String = "usage"
    public const val AFFINITY: String = "affinity"
    public const val PROBABILITIES: String = "probabilities"
    public const val FEATURES: String = "features"

    /** What a step changes, in order; each has two moments, and in micro-batches a sum of gradients. */
    public val TRAINABLE: List<String> = listOf(TRAINED, SHARED, HEAD)

    /** Every tensor that a step changes, each followed by its moments. */
    public val LEARNED: List<String> = TRAINABLE.flatMap { listOf(it) + moments(it) }

    /** Sums of gradients over micro-batches. */
    public val GRADIENT_SUMS: List<String> = TRAINABLE.map(::gradientSum)

    /** What a trunk gives and a cut training method takes, [R, S, d] each. */
    public val BOUNDARY: List<String> = listOf(PREFIX, RESIDUAL)

    /** Means over the call's tokens, [k, H]; the second with top-k gates only. */
    public val ROUTER_STATISTICS: List<String> = listOf(USAGE, AFFINITY)

    /** Returns the names of AdamW's two moments of a trainable tensor. */
    public fun moments(name: String): List<String> = listOf("${name}_m1", "${name}_m2")

    /** Returns the name of the sum of a trainable tensor's gradients over micro-batches. */
    public fun gradientSum(name: String): String = "${name}_sum"
}

/** What a method is for; [word] begins its name. */
public enum class MethodKind(public val word: String) {
    TRAIN("train"),
    ACCUMULATE("accumulate"),
    APPLY("apply"),
    PREDICT("predict"),
    TRUNK("trunk"),
}

/**
 * Sizes that all methods of a program share.
 *
 * @property topK k in top-k mode, 0 for soft gates.
 * @property vocabulary V, rows of the language head of a model that continues texts; else 0.
 */
public data class ModelShape(public val bank: BankShape, public val topK: Long = 0, public val vocabulary: Long = 0)

/**
 * Sizes of one method.
 *
 * @property trained m; for PREDICT all held experts count here; 0 for TRUNK.
 * @property frozen f.
 * @property sequence S; 0 for APPLY.
 * @property rows R; of one call for ACCUMULATE; 0 for APPLY.
 * @property batch B; for ACCUMULATE of the whole step; 0 for APPLY and TRUNK, which tell nothing of a text.
 * @property recompute what is computed twice instead of kept; of the name only.
 * @property cut takes the trunk's results instead of token ids.
 * @property layers k, the adapted layers that are trained, counted from the top; of TRUNK those of its tier; 0 for all L.
 */
public data class MethodShape(
    public val kind: MethodKind,
    public val trained: Long,
    public val frozen: Long,
    public val sequence: Long,
    public val rows: Long,
    public val batch: Long,
    public val recompute: String = "none",
    public val cut: Boolean = false,
    public val layers: Long = 0,
) {
    /** H = m + f. */
    public val held: Long get() = trained + frozen

    /** N, or as much of it as a Long holds: a file may claim anything. */
    public val places: Long get() = try {
        Math.multiplyExact(rows, sequence)
    } catch (_: ArithmeticException) {
        Long.MAX_VALUE
    }

    private val word get() = if (layers > 0) "${kind.word}_l$layers" else kind.word

    /** Name of the method in programs that export writes. */
    public val name: String get() = when (kind) {
        MethodKind.TRUNK -> "${word}_s${sequence}_r$rows"
        MethodKind.PREDICT -> "${kind.word}_s${sequence}_r${rows}_b$batch"
        MethodKind.APPLY -> "${word}_m$trained"
        else -> "${word}_m${trained}_f${frozen}_s${sequence}_r${rows}_b$batch" +
            if (recompute == "none") "" else "_$recompute"
    }
}

/** Returns the 8 numbers of `hyper` for optimizer step [step], from 1: rates, decay, bias corrections. */
public fun hyperValues(
    step: Int,
    learningRate: Double,
    headLearningRate: Double = 0.0,
    sharedLearningRate: Double = 0.0,
    weightDecay: Double = 0.0,
): FloatArray {
    val values = mapOf(
        "learning_rate" to learningRate,
        "head_learning_rate" to headLearningRate,
        "weight_decay" to weightDecay,
        "first_correction" to 1 / (1 - BETA1.pow(step.toDouble())),
        "second_correction" to 1 / (1 - BETA2.pow(step.toDouble())),
        "shared_learning_rate" to sharedLearningRate,
    )
    return FloatArray(HYPER_SIZE).also { hyper ->
        for ((name, place) in HYPER_PLACES) hyper[place] = values.getValue(name).toFloat()
    }
}

/** Returns what a method takes and gives, in order; an output named like an input replaces it in the next call. */
public fun methodSpec(model: ModelShape, method: MethodShape): MethodSpec =
    MethodPorts(model, method).let { MethodSpec(it.inputs(), it.outputs()) }

private class MethodPorts(private val model: ModelShape, private val method: MethodShape) {
    private val bank = model.bank
    private val rows = if (method.layers > 0) method.layers else bank.layers.size.toLong()
    private val lowerRows = bank.layers.size - rows
    private val places = longArrayOf(method.rows, method.sequence)
    private val values = listOfNotNull(
        port(Ports.TRAINED, rows, method.trained, bank.expertSize.toLong()),
        port(Ports.SHARED, rows, bank.sharedSize.toLong()).takeIf { bank.sharedRank > 0 },
        port(Ports.HEAD, bank.headSize.toLong()).takeIf { bank.labels > 0 },
    )
    private val moments = values.flatMap { value -> Ports.moments(value.name).map { value.copy(name = it) } }
    private val sums = values.map { it.copy(name = Ports.gradientSum(it.name)) }
    private val boundary = Ports.BOUNDARY.map { port(it, *places, bank.width) }
    private val head = if (bank.labels == 0L) emptyList() else listOf(
        port(Ports.HEAD, bank.headSize.toLong()), port(Ports.MEAN, bank.meanSize.toLong()),
    )

    fun inputs(): List<TensorSpec> = when (method.kind) {
        MethodKind.TRUNK -> texts()
        MethodKind.PREDICT ->
            listOf(port(Ports.EXPERTS, rows, method.held, bank.expertSize.toLong())) + shared() + head + gate() + texts() +
                readout()
        MethodKind.APPLY -> values + moments + sums + steering()
        MethodKind.TRAIN -> step(moments, steering())
        MethodKind.ACCUMULATE -> step(sums, listOf(port(Ports.SHARE, 1)))
    }

    private fun step(kept: List<TensorSpec>, steering: List<TensorSpec>): List<TensorSpec> {
        val frozen = port(Ports.FROZEN, rows, method.frozen, bank.expertSize.toLong()).takeIf { method.frozen > 0 }
        val texts = texts() + port(Ports.MASK, *places)
        return listOfNotNull(values[0], frozen) + shared() + head + kept + gate() + steering + balance() + texts + answers()
    }

    fun outputs(): List<TensorSpec> = when (method.kind) {
        MethodKind.TRUNK -> boundary
        MethodKind.PREDICT -> listOfNotNull(
            port(Ports.PROBABILITIES, method.batch, if (bank.labels > 0) bank.labels else model.vocabulary),
            port(Ports.FEATURES, method.batch, bank.width).takeIf { bank.labels > 0 },
        )
        MethodKind.APPLY -> values + moments
        MethodKind.TRAIN -> told() + values + moments
        MethodKind.ACCUMULATE -> told() + sums
    }

    private fun told(): List<TensorSpec> = listOfNotNull(
        port(Ports.LOSS, 1), port(Ports.LOGITS, method.batch, bank.labels).takeIf { bank.labels > 0 },
    ) + Ports.ROUTER_STATISTICS.take(if (model.topK > 0) 2 else 1).map { port(it, rows, method.held) }

    private fun shared() = values.filter { it.name == Ports.SHARED }

    private fun gate() = port(Ports.GATE_SCALE, rows, method.held)

    private fun steering() = listOf(
        port(Ports.UPDATE_MASK, rows, method.trained), port(Ports.HYPER, HYPER_SIZE.toLong()),
    )

    private fun balance() = if (model.topK == 0L) emptyList() else listOf(
        port(Ports.BALANCE_TARGET, rows, method.held), port(Ports.BALANCE_WEIGHT, rows),
    )

    /** What stands in the layers below those that are trained; nothing where all are. */
    private fun lower() = if (lowerRows == 0L) emptyList() else listOfNotNull(
        port(Ports.LOWER_EXPERTS, lowerRows, bank.experts, bank.expertSize.toLong()),
        port(Ports.LOWER_SHARED, lowerRows, bank.sharedSize.toLong()).takeIf { bank.sharedRank > 0 },
    )

    private fun texts() = (if (method.cut) boundary else lower() + whole(Ports.IDS, *places)) +
        whole(Ports.POSITIONS, *places) + port(Ports.ATTEND, *places, method.sequence)

    private fun readout() = port(Ports.READOUT, method.batch, method.places)

    private fun answers() =
        if (model.vocabulary > 0) listOf(whole(Ports.TARGETS, *places), port(Ports.WEIGHTS, *places))
        else listOf(readout(), port(Ports.LABELS, method.batch, bank.labels))

    private fun port(name: String, vararg shape: Long) = TensorSpec(name, "float32", shape.toList())

    private fun whole(name: String, vararg shape: Long) = TensorSpec(name, "int64", shape.toList())
}
