/**
 * A package and a program small enough to follow by hand: Kotlin in place of ExecuTorch, the same contract.
 *
 * Axes: L = 1 layer, M = 3 experts of rank 1, width 2, C = 2 labels, B = 3 texts at most in R = 1 row of S = 4 places;
 * a tier of 1 slot. The program's gradient of value i is 1 + i times the mean token of all places, so that what a step does
 * follows from its texts. The deep toy has L = 2 layers, holds all experts, and has a tier of both layers and one of the upper,
 * where the prefix of a token is its id.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.MethodKind
import org.edgeexperts.wire.MethodShape
import org.edgeexperts.wire.MethodSpec
import org.edgeexperts.wire.ModelShape
import org.edgeexperts.wire.PACKAGE_FORMAT
import org.edgeexperts.wire.PROGRAM_INTERFACE
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.TensorSpec
import org.edgeexperts.wire.canonicalJson
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.methodSpec
import org.edgeexperts.wire.sha256
import java.io.File

val TOY_SHAPE = BankShape(listOf(3), 3, 1, 0, 2, 2)
const val TOY_TRAIN = "train_m1_f0_s4_r1_b3"

/** The method of the deep toy's tier of the upper layer. */
const val TOY_TOP = "train_l1_m1_f2_s4_r1_b3"

private fun toyShape(deep: Boolean) = if (deep) TOY_SHAPE.copy(layers = listOf(2, 3)) else TOY_SHAPE

fun toyBank(deep: Boolean = false): Bank = toyShape(deep).let { shape ->
    Bank.zeros(shape).replace(shape.ids().associateWith { block -> FloatArray(shape.size(block)) { (it + block.index) / 8f } })
}

private fun methodsOf(model: ModelShape) = mapOf(
    TOY_TRAIN to methodSpec(model, MethodShape(MethodKind.TRAIN, 1, 0, 4, 1, 3)),
    "predict_s4_r2_b2" to methodSpec(model, MethodShape(MethodKind.PREDICT, 1, 0, 4, 2, 2)),
    "predict_s4_r1_b1" to methodSpec(model, MethodShape(MethodKind.PREDICT, 1, 0, 4, 1, 1)),
)

private fun deepMethods(): Map<String, MethodSpec> {
    val whole = MethodShape(MethodKind.TRAIN, 1, 2, 4, 1, 3)
    val shapes = listOf(
        whole, whole.copy(cut = true, layers = 1), MethodShape(MethodKind.TRUNK, 0, 0, 4, 2, 0, layers = 1),
        MethodShape(MethodKind.PREDICT, 3, 0, 4, 2, 2), MethodShape(MethodKind.PREDICT, 3, 0, 4, 1, 1),
    )
    return shapes.associate { it.name to methodSpec(ModelShape(toyShape(deep = true)), it) }
}

private fun tree(tensors: List<TensorSpec>) =
    tensors.map { mapOf("name" to it.name, "dtype" to it.dtype, "shape" to it.shape) }

private val TOKENIZER = mapOf(
    "normalizer" to mapOf("type" to "BertNormalizer"),
    "pre_tokenizer" to mapOf("type" to "BertPreTokenizer"),
    "model" to mapOf(
        "type" to "WordPiece", "unk_token" to "[UNK]",
        "vocab" to listOf("[PAD]", "[UNK]", "wake", "me", "play", "song").withIndex().associate { it.value to it.index.toLong() },
    ),
    "post_processor" to mapOf(
        "type" to "TemplateProcessing",
        "single" to listOf(mapOf("Sequence" to mapOf("id" to "A"))),
        "special_tokens" to emptyMap<String, Any?>(),
    ),
)

private fun cost(stepMs: Double, trunkMs: Double) = mapOf(
    "memory_mib" to 0, "step_ms" to stepMs, "storage_mb" to 0, "bytes_up" to 0, "bytes_down" to 0, "trunk_ms" to trunkMs,
)

private fun tier(method: String, frozen: Int, layers: Int, predicted: Map<String, Any>, trunks: List<String> = emptyList()) = mapOf(
    "method" to method, "trained_slots" to 1, "frozen_slots" to frozen, "seq_len" to 4, "rows" to 1, "batch_size" to 3,
    "layers" to layers, "predicted" to predicted, "measured" to cost(0.0, 0.0), "trunk_methods" to trunks,
)

private val DEEP_TIERS = listOf(
    tier("train_m1_f2_s4_r1_b3", 2, 2, cost(4.0, 0.0)), tier(TOY_TOP, 2, 1, cost(1.0, 0.5), listOf("trunk_l1_s4_r2")),
)

/**
 * Writes the package and opens it; with [language] one that continues texts, of a vocabulary of 6 words and no labels; with
 * [deep] the one of two layers.
 */
fun writeToy(folder: File, language: Boolean = false, deep: Boolean = false): PackageFolder {
    folder.mkdirs()
    val methods = when {
        deep -> deepMethods()
        language -> methodsOf(ModelShape(TOY_SHAPE.copy(labels = 0), vocabulary = 6))
        else -> methodsOf(ModelShape(TOY_SHAPE))
    }
    val tiers = if (deep) DEEP_TIERS else listOf(tier(TOY_TRAIN, 0, 1, cost(0.0, 0.0)))
    val bank = if (language) Bank.zeros(TOY_SHAPE.copy(labels = 0)) else toyBank(deep)
    val contents = mapOf(
        "program.pte" to "no program here".toByteArray(),
        "tokenizer.json" to canonicalJson(TOKENIZER),
    )
    val backbone = mapOf(
        "name" to "toy", "family" to "bert", "digest" to "a".repeat(64), "width" to 2, "layers" to 4, "parameters" to 1,
    )
    val architecture = mapOf(
        "backbone" to backbone, "task" to if (language) "causal-lm" else "classification",
        "labels" to if (language) emptyList() else listOf("alarm", "music"), "gate" to "soft",
        "top_k" to 0, "adapted_layers" to bank.shape.layers, "experts" to 3, "rank" to 1, "shared_rank" to 0,
        "feature" to if (language) "none" else "mean_pool_l2", "logit_scale" to 5.0, "end_token" to -1,
        "tokenizer_digest" to hex(sha256(contents.getValue("tokenizer.json"))), "bank_digest" to hex(bank.digest()),
    )
    val files = contents + mapOf("bank.safetensors" to bank.toBytes(sha256(canonicalJson(architecture))))
    files.forEach { (name, data) -> File(folder, name).writeBytes(data) }
    val manifest = mapOf(
        "package_format" to PACKAGE_FORMAT, "wire_version" to 1, "program_interface" to PROGRAM_INTERFACE,
        "architecture" to architecture, "device" to "toy",
        "profile" to emptyMap<String, Any?>(), "quantize" to "none", "held" to if (deep) "all" else "slots", "tiers" to tiers,
        "methods" to methods.mapValues { (_, spec) -> mapOf("inputs" to tree(spec.inputs), "outputs" to tree(spec.outputs)) },
        "predict_methods" to listOf("predict_s4_r2_b2", "predict_s4_r1_b1"), "versions" to emptyMap<String, Any?>(),
        "oldest_runtime" to "1.3", "threads" to 1,
        "files" to files.mapValues { mapOf("sha256" to hex(sha256(it.value)), "bytes" to it.value.size) },
    )
    File(folder, "manifest.json").writeBytes(canonicalJson(manifest))
    return PackageFolder.open(folder)
}

/** Executes the methods of the toy package; diverges when told to. */
class ToyProgram(private val folder: PackageFolder) : Program {
    var diverges = false
    override val methods = folder.manifest.methods.keys
    val calls = ArrayList<String>()

    /** Experts that trunks ran. */
    val below = ArrayList<FloatArray>()

    override fun execute(method: String, inputs: List<TensorValue>): List<TensorValue> {
        val spec = folder.manifest.methods.getValue(method)
        val named = spec.inputs.zip(inputs).associate { (tensor, value) -> tensor.name to value }
        calls += method
        val outputs = if (method.startsWith("train")) train(named, spec) else if ("readout" in named) read(named) else trunk(named)
        return spec.outputs.map { TensorValue.Floats(it.shape.toLongArray(), outputs.getValue(it.name)) }
    }

    private fun trunk(named: Tensors): Map<String, FloatArray> {
        below += named.floats("lower_experts")
        val tokens = (named.getValue("ids") as TensorValue.Longs).values.flatMap { listOf(it.toFloat(), it.toFloat()) }.toFloatArray()
        return mapOf("prefix" to tokens, "residual" to tokens)
    }

    /** A feature is a text's mean token, and 1. */
    private fun read(named: Tensors): Map<String, FloatArray> {
        val ids = (named.getValue("ids") as TensorValue.Longs).values
        val readout = named.floats("readout")
        val texts = readout.size / ids.size
        val means = List(texts) { text -> ids.indices.sumOf { readout[text * ids.size + it].toDouble() * ids[it] }.toFloat() }
        return mapOf(
            "probabilities" to joined(means.map { floatArrayOf(0.75f, 0.25f) }),
            "features" to joined(means.map { floatArrayOf(it, 1f) }),
        )
    }

    private fun train(named: Tensors, spec: MethodSpec): Map<String, FloatArray> {
        val token = (named["ids"] as TensorValue.Longs?)?.values?.average()?.toFloat() ?: named.floats("prefix").average().toFloat()
        val hyper = named.floats("hyper")
        val outputs = HashMap<String, FloatArray>()
        val rates = mapOf("trained" to hyper[0], "head" to hyper[1], "shared" to hyper[5])
        for ((name, rate) in rates.filterKeys(named::containsKey)) {
            val moment = named.floats("${name}_m1")
            val first = FloatArray(moment.size) { 0.5f * moment[it] + token * (1 + it) }
            val value = named.floats(name)
            outputs["${name}_m1"] = first
            outputs["${name}_m2"] = named.floats("${name}_m2")
            outputs[name] = FloatArray(value.size) { if (diverges) Float.NaN else value[it] - rate * first[it] }
        }
        fun size(name: String) = spec.outputs.single { it.name == name }.shape.fold(1L, Long::times).toInt()
        return outputs +
            mapOf("loss" to floatArrayOf(token), "logits" to FloatArray(size("logits")), "usage" to FloatArray(size("usage")) { 1f })
    }

    override fun close() = Unit
}

/** A block that plans train. */
val TOY_EXPERT = ExpertId(3, 1)

/** What is said of a chunked body: its bytes, put together. */
fun joinedBody(payloads: List<ByteArray>): ByteArray =
    payloads.map(MessageKind.CHUNK::decode).sortedBy { it.index }.map { it.payload.toByteArray() }.reduce(ByteArray::plus)
