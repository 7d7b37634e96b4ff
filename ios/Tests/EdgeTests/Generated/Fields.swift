// Written by `make proto` from edge_runtime/wire/wire.proto, which says what each field is. Not for hands.

@testable import EdgeWire

extension ExpertRef: Told {
    var told: Json {
        .members([
            ("layer", layer.told),
            ("index", index.told),
        ])
    }
}

extension GatewayState: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("federation_digest", .text(hex(federationDigest))),
            ("online", online.told),
            ("session", .text(hex(session))),
            ("version", .text(String(version))),
            ("round", .text(String(round))),
            ("rounds_planned", .text(String(roundsPlanned))),
            ("finished", finished.told),
            ("serial", .text(String(serial))),
            ("signature", .text(hex(signature))),
        ])
    }
}

extension Hello: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("federation_digest", .text(hex(federationDigest))),
            ("package_digest", .text(hex(packageDigest))),
            ("gateway_session", .text(hex(gatewaySession))),
            ("profile", profile.told),
            ("runtime", runtime.told),
            ("trained_slots", trainedSlots.told),
            ("held_slots", heldSlots.told),
            ("batch_size", batchSize.told),
            ("step_ms", stepMs.told),
            ("examples", examples.told),
            ("bytes_up_per_round", .text(String(bytesUpPerRound))),
            ("bytes_down_per_round", .text(String(bytesDownPerRound))),
            ("seconds_per_round", secondsPerRound.told),
            ("codecs", codecs.told),
            ("statistics_digest", .text(hex(statisticsDigest))),
            ("reaches", reaches.told),
            ("masks", masks.told),
            ("devices", devices.told),
            ("signs_keys", signsKeys.told),
        ])
    }
}

extension Reach: Told {
    var told: Json {
        .members([
            ("layers", layers.told),
            ("step_ms", stepMs.told),
            ("trunk_ms", trunkMs.told),
        ])
    }
}

extension Bye: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
        ])
    }
}

extension Plan: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("round", .text(String(round))),
            ("base_version", .text(String(baseVersion))),
            ("version_digest", .text(hex(versionDigest))),
            ("train", train.told),
            ("steps", steps.told),
            ("learning_rate", learningRate.told),
            ("shared_learning_rate", sharedLearningRate.told),
            ("head_learning_rate", headLearningRate.told),
            ("weight_decay", weightDecay.told),
            ("seed", .text(String(seed))),
            ("deadline_s", deadlineS.told),
            ("codec", codec.told),
            ("use", use.told),
            ("balance_pressure", balancePressure.told),
            ("masks", masks.told),
            ("serial", .text(String(serial))),
            ("signature", .text(hex(signature))),
        ])
    }
}

extension LayerUse: Told {
    var told: Json {
        .members([
            ("layer", layer.told),
            ("use", use.told),
        ])
    }
}

extension Delta: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("plan_digest", .text(hex(planDigest))),
            ("round", .text(String(round))),
            ("base_version", .text(String(baseVersion))),
            ("examples", examples.told),
            ("codec", codec.told),
            ("experts", experts.told),
            ("loss_first", lossFirst.told),
            ("loss_last", lossLast.told),
            ("step_ms", stepMs.told),
            ("steps", steps.told),
            ("use", use.told),
            ("label_counts", labelCounts.told),
            ("members", .text(hex(members))),
            ("masked", masked.told),
        ])
    }
}

extension ExpertDelta: Told {
    var told: Json {
        .members([
            ("layer", layer.told),
            ("index", index.told),
            ("values", .text(hex(values))),
        ])
    }
}

extension ExpertUse: Told {
    var told: Json {
        .members([
            ("layer", layer.told),
            ("index", index.told),
            ("routed", routed.told),
            ("seen", seen.told),
        ])
    }
}

extension ClassStatistics: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("federation_digest", .text(hex(federationDigest))),
            ("width", width.told),
            ("counts", .text(hex(counts))),
            ("sums", .text(hex(sums))),
        ])
    }
}

extension PartialSum: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("plan_digest", .text(hex(planDigest))),
            ("round", .text(String(round))),
            ("base_version", .text(String(baseVersion))),
            ("devices", devices.told),
            ("blocks", blocks.told),
            ("examples", examples.told),
            ("loss_first", lossFirst.told),
            ("loss_last", lossLast.told),
            ("step_ms", stepMs.told),
            ("most_examples", mostExamples.told),
        ])
    }
}

extension BlockSum: Told {
    var told: Json {
        .members([
            ("layer", layer.told),
            ("index", index.told),
            ("values", .text(hex(values))),
            ("weights", .text(hex(weights))),
            ("devices", devices.told),
            ("steps", .text(hex(steps))),
            ("size", .text(String(size))),
        ])
    }
}

extension PartialStatistics: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("federation_digest", .text(hex(federationDigest))),
            ("width", width.told),
            ("devices", devices.told),
            ("counts", .text(hex(counts))),
            ("sums", .text(hex(sums))),
        ])
    }
}

extension Chunk: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("kind", kind.told),
            ("digest", .text(hex(digest))),
            ("index", index.told),
            ("count", count.told),
            ("total", .text(String(total))),
            ("payload", .text(hex(payload))),
        ])
    }
}

extension Verdict: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("kind", kind.told),
            ("digest", .text(hex(digest))),
            ("code", code.told),
            ("detail", detail.told),
            ("retry_after_s", retryAfterS.told),
            ("want_statistics", wantStatistics.told),
            ("round", .text(String(round))),
            ("missing", .text(hex(missing))),
            ("serial", .text(String(serial))),
            ("signature", .text(hex(signature))),
        ])
    }
}

extension Version: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("federation_digest", .text(hex(federationDigest))),
            ("version", .text(String(version))),
            ("parent", .text(String(parent))),
            ("digest", .text(hex(digest))),
            ("round", .text(String(round))),
            ("blocks", blocks.told),
            ("serial", .text(String(serial))),
            ("signature", .text(hex(signature))),
        ])
    }
}

extension Block: Told {
    var told: Json {
        .members([
            ("layer", layer.told),
            ("index", index.told),
            ("digest", .text(hex(digest))),
            ("updates", updates.told),
        ])
    }
}

extension Update: Told {
    var told: Json {
        .members([
            ("base", .text(hex(base))),
            ("digest", .text(hex(digest))),
        ])
    }
}

extension Want: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("digests", .items(digests.map { .text(hex($0)) })),
            ("missing", .items(missing.map { .text(hex($0)) })),
        ])
    }
}

extension Offer: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("kind", kind.told),
            ("digest", .text(hex(digest))),
            ("count", count.told),
            ("total", .text(String(total))),
        ])
    }
}

extension MaskTerms: Told {
    var told: Json {
        .members([
            ("version", version.told),
            ("circles", circles.told),
            ("limit", limit.told),
            ("most_weight", mostWeight.told),
            ("examples_per_weight", examplesPerWeight.told),
            ("expert_step", expertStep.told),
            ("shared_step", sharedStep.told),
            ("head_step", headStep.told),
            ("expert_norm", expertNorm.told),
            ("shared_norm", sharedNorm.told),
            ("head_norm", headNorm.told),
            ("class_step", classStep.told),
            ("class_examples", classExamples.told),
            ("whole_norm", .text(String(wholeNorm))),
        ])
    }
}

extension CircleTerms: Told {
    var told: Json {
        .members([
            ("number", number.told),
            ("blocks", blocks.told),
            ("variance", .text(String(variance))),
            ("least", least.told),
        ])
    }
}

extension MaskRound: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("round", .text(String(round))),
            ("plan_digest", .text(hex(planDigest))),
            ("members", .text(hex(members))),
            ("dealt", .text(hex(dealt))),
            ("survivors", .text(hex(survivors))),
            ("serial", .text(String(serial))),
            ("signature", .text(hex(signature))),
        ])
    }
}

extension MaskKeys: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("plan_digest", .text(hex(planDigest))),
            ("sharing", .text(hex(sharing))),
            ("masking", masking.told),
            ("round", .text(String(round))),
            ("certificate", .text(hex(certificate))),
            ("signature", .text(hex(signature))),
        ])
    }
}

extension CircleKey: Told {
    var told: Json {
        .members([
            ("circle", circle.told),
            ("key", .text(hex(key))),
        ])
    }
}

extension MaskMembers: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("round", .text(String(round))),
            ("members", members.told),
            ("circles", circles.told),
        ])
    }
}

extension MaskMember: Told {
    var told: Json {
        .members([
            ("digest", .text(hex(digest))),
            ("sharing", .text(hex(sharing))),
            ("masking", masking.told),
            ("keys", .text(hex(keys))),
        ])
    }
}

extension MaskCircle: Told {
    var told: Json {
        .members([
            ("number", number.told),
            ("neighbours", neighbours.told),
            ("threshold", threshold.told),
            ("least", least.told),
            ("bits", bits.told),
        ])
    }
}

extension MaskShares: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("members", .text(hex(members))),
            ("shares", shares.told),
        ])
    }
}

extension SealedShares: Told {
    var told: Json {
        .members([
            ("place", place.told),
            ("data", .text(hex(data))),
        ])
    }
}

extension MaskDealt: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("members", .text(hex(members))),
            ("dealt", .text(hex(dealt))),
            ("shares", shares.told),
        ])
    }
}

extension MaskedCircle: Told {
    var told: Json {
        .members([
            ("number", number.told),
            ("words", .text(hex(words))),
        ])
    }
}

extension MaskSurvivors: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("members", .text(hex(members))),
            ("dealt", .text(hex(dealt))),
            ("survivors", .text(hex(survivors))),
        ])
    }
}

extension MaskAnswer: Told {
    var told: Json {
        .members([
            ("wire_version", wireVersion.told),
            ("device", device.told),
            ("survivors", .text(hex(survivors))),
            ("shares", shares.told),
        ])
    }
}

extension ToldShare: Told {
    var told: Json {
        .members([
            ("circle", circle.told),
            ("place", place.told),
            ("share", .text(hex(share))),
        ])
    }
}
