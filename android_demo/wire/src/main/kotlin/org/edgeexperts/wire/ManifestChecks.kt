/** What a manifest must be beyond its types: the parts of manifest.json held against each other. */
package org.edgeexperts.wire

private const val TEXT_BYTES = 200 // UTF-8 bytes of a label, of a name, of a path inside the package
private const val TENSOR_LIMIT = Int.MAX_VALUE.toLong() // bytes of one input or output
private const val AXES_LIMIT = 8

// In this range every language writes the same shortest decimal, without an exponent.
private const val SCALE_LEAST = 0.001
private const val SCALE_END = 1e7
private const val CLASSIFICATION = "classification"

// How a text becomes one vector, by task.
private val FEATURES = mapOf(CLASSIFICATION to "mean_pool_l2", "causal-lm" to "none")
private val NEEDED_FILES = listOf("bank.safetensors", "program.pte", "tokenizer.json")
private val RECOMPUTE = listOf("none", "light", "layers")
private val HEX_DIGEST = Regex("[0-9a-f]{64}")
private val PATH = Regex("[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")

/**
 * Holds the parts of a manifest against each other.
 *
 * @throws PackageException saying which part is wrong and how.
 */
internal fun checkManifest(manifest: Manifest, source: String) {
    val checks = ManifestChecks(source)
    val version = manifest.wireVersion
    checks.need(version == WIRE_VERSION.toLong()) {
        "wire version $version, this software speaks $WIRE_VERSION; export it again"
    }
    val stated = manifest.programInterface
    checks.need(stated == PROGRAM_INTERFACE) {
        "program interface $stated, this software knows $PROGRAM_INTERFACE; export it again"
    }
    checks.architecture(manifest.architecture)
    checks.program(manifest)
    checks.predict(manifest)
    checks.tiers(manifest)
    checks.methods(manifest)
    checkInterface(manifest, source)
    checks.files(manifest)
}

/** Returns what is wrong with a list of labels, "" when nothing is: their count, one that stands twice, or a text. */
private fun labelFault(labels: List<String>): String {
    val twice = labels.groupingBy { it }.eachCount().filterValues { it > 1 }.keys
    val place = labels.indexOfFirst { it.isEmpty() || !plain(it, TEXT_BYTES) }
    return when {
        labels.size !in 1..LABELS_LIMIT -> "${labels.size} labels, expected 1 to $LABELS_LIMIT"
        twice.isNotEmpty() -> "labels that stand twice: ${twice.take(NAMED).joinToString { shown(it) }}"
        place < 0 -> ""
        labels[place].isEmpty() -> "label ${place + 1} of ${labels.size} is empty"
        else -> "label ${place + 1} of ${labels.size}, ${shown(labels[place])}, has over $TEXT_BYTES bytes, or a character " +
            "that ends a line, steers a terminal or turns text around"
    }
}

private const val NAMED = 5

private class ManifestChecks(private val source: String) {
    inline fun need(condition: Boolean, detail: () -> String) {
        if (!condition) throw PackageException("$source: ${detail()}")
    }

    fun architecture(arch: Architecture) {
        try {
            arch.bankShape()
        } catch (error: BankException) {
            throw PackageException("$source: ${error.message}", error)
        }
        task(arch)
        for (text in listOf(arch.backbone.name, arch.backbone.family)) {
            need(text.isNotEmpty() && plain(text, TEXT_BYTES)) {
                "${shown(text)} is empty, over $TEXT_BYTES bytes or not plain"
            }
        }
        val highest = arch.adaptedLayers.last()
        need(highest < arch.backbone.layers) { "layer $highest is not in the backbone" }
        need(arch.logitScale >= SCALE_LEAST && arch.logitScale < SCALE_END) {
            "logit_scale ${arch.logitScale}, expected $SCALE_LEAST to $SCALE_END"
        }
        need(arch.gate == "soft" || arch.gate == "topk") { "gate ${shown(arch.gate)}, expected soft or topk" }
        need(if (arch.gate == "topk") arch.topK in 1..arch.experts else arch.topK == 0L) {
            "top_k ${arch.topK} with the ${arch.gate} gate and ${arch.experts} experts"
        }
        for (digest in listOf(arch.backbone.digest, arch.tokenizerDigest, arch.bankDigest)) {
            need(HEX_DIGEST.matches(digest)) { "${shown(digest)} is no SHA-256" }
        }
    }

    private fun task(arch: Architecture) {
        val feature = FEATURES[arch.task]
        need(feature != null) { "task ${shown(arch.task)}, expected one of ${FEATURES.keys}" }
        need(arch.feature == feature) { "feature ${shown(arch.feature)}, expected $feature for ${arch.task}" }
        if (arch.task == CLASSIFICATION) {
            val fault = labelFault(arch.labels)
            need(fault.isEmpty()) { "labels: $fault" }
            need(arch.endToken == -1L) { "end_token ${arch.endToken}: a classifier has none, expected -1" }
        } else {
            need(arch.labels.isEmpty()) { "${arch.labels.size} labels: a model that continues texts has none" }
            need(arch.endToken >= -1) { "end_token ${arch.endToken}, expected an id, or -1 for none" }
        }
    }

    fun program(manifest: Manifest) {
        need(manifest.held == "all" || manifest.held == "slots") {
            "held ${shown(manifest.held)}, expected all or slots"
        }
        need(manifest.quantize in listOf("int8", "int4", "none")) {
            "quantize ${shown(manifest.quantize)}, expected int8, int4 or none"
        }
        need(manifest.threads >= 1) { "${manifest.threads} threads" }
    }

    fun predict(manifest: Manifest) {
        val names = manifest.predictMethods
        need(names.isNotEmpty() && names.distinct().size == names.size) {
            "predict_methods ${shown(names)}, expected at least one, each once"
        }
        for (name in names) {
            need(name in manifest.methods) { "no method ${shown(name)}" }
        }
    }

    fun tiers(manifest: Manifest) {
        need(manifest.tiers.isNotEmpty()) { "no tier" }
        val named = manifest.tiers.map { it.method }
        need(named.distinct().size == named.size) { "two tiers of one method: ${shown(named.sorted())}" }
        for (tier in manifest.tiers) {
            need(tier.method in manifest.methods) { "tier names the unknown method ${shown(tier.method)}" }
            val experts = manifest.architecture.experts
            // Each is held against the experts first, so that their sum stays within 64 bits.
            need(tier.trainedSlots in 1..experts && tier.frozenSlots in 0..experts && tier.heldSlots <= experts) {
                "${tier.trainedSlots} trained and ${tier.frozenSlots} frozen slots, $experts experts"
            }
            need(minOf(tier.seqLen, tier.rows, tier.batchSize) >= 1) {
                "batch of ${tier.batchSize} texts in ${tier.rows} rows of ${tier.seqLen} places"
            }
            layers(tier, manifest.architecture)
            memoryPlan(tier, manifest)
        }
    }

    /** Below the layers that a tier trains every expert runs, in a trunk: so every one is held, and there is a trunk. */
    private fun layers(tier: Tier, arch: Architecture) {
        val adapted = arch.adaptedLayers.size
        need(tier.layers in 1..adapted) { "tier of ${tier.layers} layers, $adapted are adapted" }
        val whole = tier.layers == adapted.toLong() || (tier.trunkMethods.isNotEmpty() && tier.heldSlots == arch.experts)
        need(whole) {
            "tier of ${tier.layers} of $adapted adapted layers with ${tier.trunkMethods.size} trunk_methods and " +
                "${tier.heldSlots} of ${arch.experts} experts held, expected a trunk, and all experts"
        }
    }

    private fun memoryPlan(tier: Tier, manifest: Manifest) {
        val (apply, parts) = tier.applyMethod to tier.microBatches
        for (trunk in tier.trunkMethods) {
            need(trunk in manifest.methods) { "tier names the unknown trunk ${shown(trunk)}" }
        }
        need(tier.recompute in RECOMPUTE) { "recompute ${shown(tier.recompute)}, expected one of $RECOMPUTE" }
        need(parts >= 1 && tier.rows % parts == 0L) { "${tier.rows} rows in $parts micro-batches" }
        need((parts > 1) == apply.isNotEmpty()) { "$parts micro-batches with the apply method ${shown(apply)}" }
        need(apply.isEmpty() || apply in manifest.methods) { "tier names the unknown method ${shown(apply)}" }
    }

    fun methods(manifest: Manifest) {
        for ((name, method) in manifest.methods) {
            for (tensor in method.inputs + method.outputs) {
                val where = "${shown(name)}: ${shown(tensor.name)}"
                need(tensor.dtype in DTYPES) { "$where has dtype ${shown(tensor.dtype)}" }
                need(tensor.shape.size <= AXES_LIMIT && tensor.shape.all { it >= 0 }) {
                    "$where has shape ${shown(tensor.shape)}"
                }
                need(tensor.bytes <= TENSOR_LIMIT) { "$where has ${tensor.bytes} bytes, limit $TENSOR_LIMIT" }
            }
        }
    }

    fun files(manifest: Manifest) {
        for ((name, entry) in manifest.files) {
            // The length first: Java's regular expressions take stack for every repetition.
            need(name.length <= TEXT_BYTES && PATH.matches(name) && name != MANIFEST) {
                "unsafe file name ${shown(name)}"
            }
            need(HEX_DIGEST.matches(entry.sha256) && entry.bytes >= 0) { "$name: bad digest or size" }
        }
        val missing = NEEDED_FILES.filterNot(manifest.files::containsKey)
        need(missing.isEmpty()) { "files lack $missing" }
        need(manifest.files.getValue("tokenizer.json").sha256 == manifest.architecture.tokenizerDigest) {
            "tokenizer.json is not the architecture's tokenizer"
        }
    }
}
