/**
 * A package and a program small enough to follow by hand: Kotlin in place of ExecuTorch, the same contract.
 *
 * Axes: L = 1 layer, M = 3 experts of rank 1, width 2, C = 2 labels, B = 3 texts at most in R = 1 row of S = 4 places;
 * a tier of 1 slot. The program's gradient of value i is 1 + i times the mean token of all places, so that what a step does
 * follows from its texts.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.MethodKind
import org.edgeexperts.wire.MethodShape
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

fun toyBank(): Bank = Bank.zeros(TOY_SHAPE).replace(
    TOY_SHAPE.ids().associateWith { block -> FloatArray(TOY_SHAPE.size(block)) { (it + block.index) / 8f } },
)

private fun methodsOf(model: ModelShape) = mapOf(
    TOY_TRAIN to methodSpec(model, MethodShape(MethodKind.TRAIN, 1, 0, 4, 1, 3)),
    "predict_s4_r2_b2" to methodSpec(model, MethodShape(MethodKind.PREDICT, 1, 0, 4, 2, 2)),
    "predict_s4_r1_b1" to methodSpec(model, MethodShape(MethodKind.PREDICT, 1, 0, 4, 1, 1)),
)

private val METHODS = methodsOf(ModelShape(TOY_SHAPE))

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

/** Writes the package and opens it; with [language] one that continues texts, of a vocabulary of 6 words and no labels. */
fun writeToy(folder: File, language: Boolean = false): PackageFolder {
    folder.mkdirs()
    val methods = if (language) methodsOf(ModelShape(TOY_SHAPE.copy(labels = 0), vocabulary = 6)) else METHODS
    val bank = if (language) Bank.zeros(TOY_SHAPE.copy(labels = 0)) else toyBank()
    val contents = mapOf(
        "program.pte" to "no program here".toByteArray(),
        "tokenizer.json" to canonicalJson(TOKENIZER),
    )
    val free = mapOf("memory_mib" to 0, "step_ms" to 0, "storage_mb" to 0, "bytes_up" to 0, "bytes_down" to 0)
    val tier = mapOf(
        "method" to TOY_TRAIN, "trained_slots" to 1, "frozen_slots" to 0, "seq_len" to 4, "rows" to 1, "batch_size" to 3, "layers" to 1,
        "predicted" to free, "measured" to free,
    )
    val backbone = mapOf(
        "name" to "toy", "family" to "bert", "digest" to "a".repeat(64), "width" to 2, "layers" to 4, "parameters" to 1,
    )
    val architecture = mapOf(
        "backbone" to backbone, "task" to if (language) "causal-lm" else "classification",
        "labels" to if (language) emptyList() else listOf("alarm", "music"), "gate" to "soft",
        "top_k" to 0, "adapted_layers" to listOf(3), "experts" to 3, "rank" to 1, "shared_rank" to 0,
        "feature" to if (language) "none" else "mean_pool_l2", "logit_scale" to 5.0, "end_token" to -1,
        "tokenizer_digest" to hex(sha256(contents.getValue("tokenizer.json"))), "bank_digest" to hex(bank.digest()),
    )
    val files = contents + mapOf("bank.safetensors" to bank.toBytes(sha256(canonicalJson(architecture))))
    files.forEach { (name, data) -> File(folder, name).writeBytes(data) }
    val manifest = mapOf(
        "package_format" to PACKAGE_FORMAT, "wire_version" to 1, "program_interface" to PROGRAM_INTERFACE,
        "architecture" to architecture, "device" to "toy",
        "profile" to emptyMap<String, Any?>(), "quantize" to "none", "held" to "slots", "tiers" to listOf(tier),
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
    override val methods = METHODS.keys

    override fun execute(method: String, inputs: List<TensorValue>): List<TensorValue> {
        val spec = folder.manifest.methods.getValue(method)
        val named = spec.inputs.zip(inputs).associate { (tensor, value) -> tensor.name to value }
        val token = (named.getValue("ids") as TensorValue.Longs).values.average().toFloat()
        val outputs = if (method == TOY_TRAIN) train(named, token) else read(named)
        return spec.outputs.map { TensorValue.Floats(it.shape.toLongArray(), outputs.getValue(it.name)) }
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

    private fun train(named: Tensors, token: Float): Map<String, FloatArray> {
        val hyper = named.floats("hyper")
        val outputs = HashMap<String, FloatArray>()
        for ((name, rate) in listOf("trained" to hyper[0], "head" to hyper[1])) {
            val moment = named.floats("${name}_m1")
            val first = FloatArray(moment.size) { 0.5f * moment[it] + token * (1 + it) }
            val value = named.floats(name)
            outputs["${name}_m1"] = first
            outputs["${name}_m2"] = named.floats("${name}_m2")
            outputs[name] = FloatArray(value.size) { if (diverges) Float.NaN else value[it] - rate * first[it] }
        }
        return outputs + mapOf("loss" to floatArrayOf(token), "logits" to FloatArray(6), "usage" to floatArrayOf(1f))
    }

    override fun close() = Unit
}

/** A block that plans train. */
val TOY_EXPERT = ExpertId(3, 1)

/** What is said of a chunked body: its bytes, put together. */
fun joinedBody(payloads: List<ByteArray>): ByteArray =
    payloads.map(MessageKind.CHUNK::decode).sortedBy { it.index }.map { it.payload.toByteArray() }.reduce(ByteArray::plus)
