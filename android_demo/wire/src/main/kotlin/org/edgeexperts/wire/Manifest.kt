/**
 * manifest.json of a device package: what is in it, what it computes, what it costs, and digests of every file.
 *
 * Axes: L adapted layers, M experts, m trained slots, f frozen slots, r rank, d width, C labels, B texts of a step at most, R rows
 * of S places.
 * The fields are those of edge_runtime/wire/manifest.py, and so are their meanings; whole numbers are Long, as a file
 * may claim anything.
 */
package org.edgeexperts.wire

/** Format of manifest.json that is read here; another is refused. */
public const val PACKAGE_FORMAT: Long = 5

/** Name of the manifest in a package. */
public const val MANIFEST: String = "manifest.json"

/** Bytes of an element by dtype. */
internal val DTYPES = mapOf("float32" to 4L, "int64" to 8L)

/**
 * One input or output of a method.
 *
 * @property dtype "float32" or "int64".
 */
public data class TensorSpec(public val name: String, public val dtype: String, public val shape: List<Long>) {
    /** Bytes of such a tensor; Long.MAX_VALUE where they are beyond counting. */
    public val bytes: Long get() {
        if (0L in shape) return 0
        return try {
            shape.fold(DTYPES.getValue(dtype), Math::multiplyExact)
        } catch (_: ArithmeticException) {
            Long.MAX_VALUE
        }
    }
}

/** A method of the program; an output that has an input's name replaces it in the next call. */
public data class MethodSpec(public val inputs: List<TensorSpec>, public val outputs: List<TensorSpec>)

/**
 * What a tier costs a device. Zero means not known.
 *
 * @property memoryMib peak resident memory of a training process.
 * @property stepMs one training step.
 * @property storageMb the package without its gateway part, in 10^6 bytes.
 * @property bytesUp largest delta of a round.
 * @property bytesDown largest download of a round.
 * @property trunkMs the trunk for the texts of one step: what a step costs more while their prefix is not kept.
 */
public data class Cost(
    public val memoryMib: Double,
    public val stepMs: Double,
    public val storageMb: Double,
    public val bytesUp: Long,
    public val bytesDown: Long,
    public val trunkMs: Double,
)

/**
 * One program size.
 *
 * @property method name of the training method.
 * @property trainedSlots m, in each layer.
 * @property frozenSlots f.
 * @property seqLen S, tokens of a text at most.
 * @property rows R; a step's texts stand in R rows of S places, several in a row where they fit ([pack]).
 * @property batchSize B, texts of a step at most.
 * @property layers k, the adapted layers that [method] trains, counted from the top; L: all. With k < L every expert of the layers
 *   below runs in [trunkMethods], as it stands.
 * @property predicted by export's model of the device.
 * @property measured on the machine that exported.
 * @property proof what export measured of this method against eager PyTorch.
 * @property recompute what the step computes twice instead of keeping it: "none", "light" or "layers".
 * @property microBatches k; with k > 1 [method] takes R / k rows, is called k times, and [applyMethod] follows.
 * @property applyMethod the optimizer's method; "" when [method] has it inside.
 * @property timing how the measured stepMs came about: median_ms, least_ms, most_ms, threads, other_cores.
 * @property trunkMethods methods of what stands below the experts that are trained, whose outputs may be kept, the one for the
 *   shortest texts first; none when [method] takes token ids.
 */
public data class Tier(
    public val method: String,
    public val trainedSlots: Long,
    public val frozenSlots: Long,
    public val seqLen: Long,
    public val rows: Long,
    public val batchSize: Long,
    public val layers: Long,
    public val predicted: Cost,
    public val measured: Cost,
    public val proof: Map<String, Double>,
    public val recompute: String,
    public val microBatches: Long,
    public val applyMethod: String,
    public val trunkMethods: List<String>,
    public val timing: Map<String, Double>,
) {
    /** H = m + f. */
    public val heldSlots: Long get() = trainedSlots + frozenSlots
}

/** The frozen network; [digest] is the SHA-256 (hex) of its fp32 weights. */
public data class Backbone(
    public val name: String,
    public val family: String,
    public val digest: String,
    public val width: Long,
    public val layers: Long,
    public val parameters: Long,
)

/**
 * What all devices of a federation share; its digest is the federation's identity.
 *
 * @property task "classification" (a head names a text's label) or "causal-lm" (the backbone's own head continues it).
 * @property labels C names, in the order of the head's rows; none for causal-lm.
 * @property gate "soft" or "topk".
 * @property topK experts chosen for a token; 0 with the soft gate.
 * @property feature how a text becomes one vector: "mean_pool_l2"; "none" for causal-lm.
 * @property logitScale logits = logitScale * (feature - mean) @ weight.T + bias; 1 for causal-lm.
 * @property endToken causal-lm: id of the token that ends a text, -1 where the backbone has none; else -1.
 * @property tokenizerDigest SHA-256 (hex) of tokenizer.json.
 * @property bankDigest version digest (hex) of the initial bank, version 0.
 */
public data class Architecture(
    public val backbone: Backbone,
    public val task: String,
    public val labels: List<String>,
    public val gate: String,
    public val topK: Long,
    public val adaptedLayers: List<Long>,
    public val experts: Long,
    public val rank: Long,
    public val sharedRank: Long,
    public val feature: String,
    public val logitScale: Double,
    public val endToken: Long,
    public val tokenizerDigest: String,
    public val bankDigest: String,
) {
    /**
     * Returns the shape of every bank of this federation.
     *
     * @throws BankException when there can be no such bank.
     */
    public fun bankShape(): BankShape =
        BankShape(adaptedLayers, experts, rank, sharedRank, backbone.width, labels.size.toLong())

    /** Returns the canonical JSON of this object: what the federation digest is taken over. */
    public fun canonical(): ByteArray = canonicalJson(
        mapOf(
            "backbone" to mapOf(
                "name" to backbone.name,
                "family" to backbone.family,
                "digest" to backbone.digest,
                "width" to backbone.width,
                "layers" to backbone.layers,
                "parameters" to backbone.parameters,
            ),
            "task" to task,
            "labels" to labels,
            "gate" to gate,
            "top_k" to topK,
            "adapted_layers" to adaptedLayers,
            "experts" to experts,
            "rank" to rank,
            "shared_rank" to sharedRank,
            "feature" to feature,
            "logit_scale" to logitScale,
            "end_token" to endToken,
            "tokenizer_digest" to tokenizerDigest,
            "bank_digest" to bankDigest,
        ),
    )

    /** Returns the federation digest. */
    public fun digest(): ByteArray = sha256(canonical())
}

/** A file of the package. */
public data class FileEntry(public val sha256: String, public val bytes: Long)

/** The whole of manifest.json. */
public data class Manifest(
    public val packageFormat: Long,
    public val wireVersion: Long,
    public val programInterface: Long,
    public val architecture: Architecture,
    public val device: String,
    public val profile: Map<String, Any?>,
    public val quantize: String,
    public val held: String,
    public val tiers: List<Tier>,
    public val methods: Map<String, MethodSpec>,
    public val predictMethods: List<String>,
    public val versions: Map<String, String>,
    public val oldestRuntime: String,
    public val threads: Long,
    public val files: Map<String, FileEntry>,
    public val proof: Map<String, Double>,
) {
    public companion object {
        /**
         * Reads manifest.json and checks that its parts fit each other.
         *
         * @throws PackageException saying which key is wrong and how.
         */
        public fun fromJson(data: ByteArray, source: String = MANIFEST): Manifest {
            val tree = parseJson(data, source)
            val format = (tree as? Map<*, *>)?.get("package_format")
            if (format != PACKAGE_FORMAT) {
                throw PackageException(
                    "$source has package format ${shown(format)}, this software reads $PACKAGE_FORMAT;" +
                        " export the package again",
                )
            }
            return JsonObject.objectOf(tree, source).all(JsonObject::manifest).also { checkManifest(it, source) }
        }
    }
}
