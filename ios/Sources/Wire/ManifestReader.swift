/// From a JSON tree to a ``Manifest``: every key by its name and type; a key that has a default may lack.
extension Manifest {
    init(_ tree: JsonObject) throws {
        packageFormat = try tree.whole("package_format")
        wireVersion = try tree.whole("wire_version")
        programInterface = try tree.whole("program_interface")
        architecture = try tree.object("architecture", Architecture.init)
        device = try tree.text("device")
        profile = try tree.anything("profile")
        quantize = try tree.text("quantize")
        held = try tree.text("held")
        tiers = try tree.objects("tiers", Tier.init)
        methods = try tree.objectsByName("methods", MethodSpec.init)
        predictMethods = try tree.texts("predict_methods")
        versions = try tree.textsByName("versions")
        oldestRuntime = try tree.text("oldest_runtime")
        threads = try tree.whole("threads")
        files = try tree.objectsByName("files") { FileEntry(sha256: try $0.text("sha256"), bytes: try $0.whole("bytes")) }
        proof = try tree.optionalNumbers("proof")
    }
}

extension Architecture {
    fileprivate init(_ tree: JsonObject) throws {
        backbone = try tree.object("backbone", Backbone.init)
        task = try tree.text("task")
        labels = try tree.texts("labels")
        gate = try tree.text("gate")
        topK = try tree.whole("top_k")
        adaptedLayers = try tree.wholes("adapted_layers")
        experts = try tree.whole("experts")
        rank = try tree.whole("rank")
        sharedRank = try tree.whole("shared_rank")
        feature = try tree.text("feature")
        logitScale = try tree.number("logit_scale")
        endToken = try tree.whole("end_token")
        tokenizerDigest = try tree.text("tokenizer_digest")
        bankDigest = try tree.text("bank_digest")
    }
}

extension Backbone {
    fileprivate init(_ tree: JsonObject) throws {
        name = try tree.text("name")
        family = try tree.text("family")
        digest = try tree.text("digest")
        width = try tree.whole("width")
        layers = try tree.whole("layers")
        parameters = try tree.whole("parameters")
    }
}

extension Tier {
    fileprivate init(_ tree: JsonObject) throws {
        self.init(
            method: try tree.text("method"), trainedSlots: try tree.whole("trained_slots"),
            frozenSlots: try tree.whole("frozen_slots"), seqLen: try tree.whole("seq_len"), rows: try tree.whole("rows"),
            batchSize: try tree.whole("batch_size"), layers: try tree.whole("layers"))
        predicted = try tree.object("predicted", Cost.init)
        measured = try tree.object("measured", Cost.init)
        proof = try tree.optionalNumbers("proof")
        recompute = try tree.text("recompute", or: recompute)
        microBatches = try tree.whole("micro_batches", or: microBatches)
        applyMethod = try tree.text("apply_method", or: applyMethod)
        trunkMethods = try tree.optionalTexts("trunk_methods")
        timing = try tree.optionalNumbers("timing")
    }
}

extension Cost {
    fileprivate init(_ tree: JsonObject) throws {
        memoryMib = try tree.number("memory_mib")
        stepMs = try tree.number("step_ms")
        storageMb = try tree.number("storage_mb")
        bytesUp = try tree.whole("bytes_up")
        bytesDown = try tree.whole("bytes_down")
        trunkMs = try tree.number("trunk_ms", or: trunkMs)
    }
}

extension MethodSpec {
    fileprivate init(_ tree: JsonObject) throws {
        inputs = try tree.objects("inputs", TensorSpec.init)
        outputs = try tree.objects("outputs", TensorSpec.init)
    }
}

extension TensorSpec {
    fileprivate init(_ tree: JsonObject) throws {
        self.init(try tree.text("name"), try tree.text("dtype"), try tree.wholes("shape"))
    }
}
