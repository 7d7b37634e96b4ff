/** From a JSON tree to a [Manifest]: every key by its name and type; a key that has a default may lack. */
package org.edgeexperts.wire

internal fun JsonObject.manifest() = Manifest(
    packageFormat = whole("package_format"),
    wireVersion = whole("wire_version"),
    programInterface = whole("program_interface"),
    architecture = nested("architecture") { architecture() },
    device = text("device"),
    profile = anything("profile"),
    quantize = text("quantize"),
    held = text("held"),
    tiers = objects("tiers") { tier() },
    methods = named("methods") { MethodSpec(objects("inputs") { tensor() }, objects("outputs") { tensor() }) },
    predictMethods = texts("predict_methods"),
    versions = textsByName("versions"),
    oldestRuntime = text("oldest_runtime"),
    threads = whole("threads"),
    files = named("files") { FileEntry(text("sha256"), whole("bytes")) },
    proof = optionalNumbers("proof"),
)

private fun JsonObject.architecture() = Architecture(
    backbone = nested("backbone") {
        Backbone(
            name = text("name"),
            family = text("family"),
            digest = text("digest"),
            width = whole("width"),
            layers = whole("layers"),
            parameters = whole("parameters"),
        )
    },
    task = text("task"),
    labels = texts("labels"),
    gate = text("gate"),
    topK = whole("top_k"),
    adaptedLayers = wholes("adapted_layers"),
    experts = whole("experts"),
    rank = whole("rank"),
    sharedRank = whole("shared_rank"),
    feature = text("feature"),
    logitScale = number("logit_scale"),
    endToken = whole("end_token"),
    tokenizerDigest = text("tokenizer_digest"),
    bankDigest = text("bank_digest"),
)

private fun JsonObject.tier() = Tier(
    method = text("method"),
    trainedSlots = whole("trained_slots"),
    frozenSlots = whole("frozen_slots"),
    seqLen = whole("seq_len"),
    rows = whole("rows"),
    batchSize = whole("batch_size"),
    layers = whole("layers"),
    predicted = nested("predicted") { cost() },
    measured = nested("measured") { cost() },
    proof = optionalNumbers("proof"),
    recompute = optionalText("recompute", "none"),
    microBatches = optionalWhole("micro_batches", 1),
    applyMethod = optionalText("apply_method", ""),
    trunkMethods = optionalTexts("trunk_methods"),
    timing = optionalNumbers("timing"),
)

private fun JsonObject.cost() = Cost(
    memoryMib = number("memory_mib"),
    stepMs = number("step_ms"),
    storageMb = number("storage_mb"),
    bytesUp = whole("bytes_up"),
    bytesDown = whole("bytes_down"),
    trunkMs = optionalNumber("trunk_ms", 0.0),
)

private fun JsonObject.tensor() = TensorSpec(text("name"), text("dtype"), wholes("shape"))
