/// What each message must be beyond its schema: one `check` a message.

func checkDigest(_ value: Bytes, _ what: String) throws {
    try need(value.count == Limits.digestBytes, "\(what) has \(value.count) bytes, expected \(Limits.digestBytes)")
}

private func checkSession(_ value: Bytes) throws {
    try need(value.count == Limits.sessionBytes, "gateway session has \(value.count) bytes, expected \(Limits.sessionBytes)")
}

let largest = Double.greatestFiniteMagnitude

func checkNumber(_ value: Float, _ what: String, low: Double = 0, high: Double = largest) throws {
    guard value.isFinite else { throw WireError(.notFinite, "\(what) is \(value)") }
    try need((low...high).contains(Double(value)), "\(what) is \(value), expected \(low) to \(high)")
}

private func plainText(_ value: String, _ what: String, _ limit: Int) throws {
    try need(plain(value, limit), "\(what) is over \(limit) bytes or not one plain line")
}

private func known(_ codec: Codec) throws { _ = try encodedSize(0, codec) }

func ascending(_ numbers: [UInt32], _ what: String) throws {
    try need(zip(numbers, numbers.dropFirst()).allSatisfy(<), "\(what) are not ascending and unique")
}

func ascending(_ listed: [(UInt32, UInt32)], _ what: String) throws -> [ExpertId] {
    guard listed.count <= Limits.blocks else {
        throw WireError(.tooLarge, "\(listed.count) \(what), limit \(Limits.blocks)")
    }
    let highest = UInt32(ExpertId.reserved)
    try need(listed.allSatisfy { $0 <= highest && $1 <= highest }, "\(what) name a number above \(highest)")
    let ids = listed.map { ExpertId(Int($0), Int($1)) }
    try need(zip(ids, ids.dropFirst()).allSatisfy(<), "\(what) are not ascending and unique")
    return ids
}

private func trained(_ listed: [(UInt32, UInt32)], _ what: String) throws {
    try need(!listed.isEmpty, "no \(what)")
    let other = try ascending(listed, what).first { $0.layer == ExpertId.reserved && $0 != .head }
    try need(other == nil, "\(what) name \(other!), which is not trained")
}

extension GatewayState: Payload {
    public func check() throws {
        try checkDigest(federationDigest, "federation digest")
        try checkSession(session)
    }
}

extension Hello: Payload {
    public func check() throws {
        try checkName(device, "device")
        try checkDigest(federationDigest, "federation digest")
        try checkDigest(packageDigest, "package digest")
        try checkSession(gatewaySession)
        try need(
            trainedSlots >= 1 && trainedSlots <= heldSlots && heldSlots <= Limits.slots,
            "\(trainedSlots) slots trained of \(heldSlots) held")
        try need((1...Limits.batch).contains(Int(batchSize)), "batch size is \(batchSize)")
        try checkNumber(stepMs, "step_ms")
        try checkNumber(secondsPerRound, "seconds_per_round")
        if !statisticsDigest.isEmpty { try checkDigest(statisticsDigest, "statistics digest") }
        try checkReaches()
        try plainText(profile, "profile", Limits.nameBytes)
        try plainText(runtime, "runtime", Limits.nameBytes)
    }

    private func checkReaches() throws {
        try need(reaches.count <= Limits.reaches, "\(reaches.count) reaches, limit \(Limits.reaches)")
        try need(
            reaches.allSatisfy { (1..<ExpertId.reserved).contains(Int($0.layers)) },
            "a reach of layers beyond 1 to \(ExpertId.reserved - 1)")
        try ascending(reaches.map(\.layers), "layers of reaches")
        for reach in reaches {
            try checkNumber(reach.stepMs, "step_ms of a reach")
            try checkNumber(reach.trunkMs, "trunk_ms of a reach")
        }
    }
}

extension Bye: Payload {
    public func check() throws { try checkName(device, "device") }
}

extension Plan: Payload {
    public func check() throws {
        try checkName(device, "device")
        try checkDigest(versionDigest, "version digest")
        try known(codec)
        try trained(train.map { ($0.layer, $0.index) }, "planned experts")
        try need((1...Limits.steps).contains(Int(steps)), "\(steps) steps, expected 1 to \(Limits.steps)")
        try checkNumber(learningRate, "learning_rate", high: Limits.rate)
        try checkNumber(sharedLearningRate, "shared_learning_rate", high: Limits.rate)
        try checkNumber(headLearningRate, "head_learning_rate", high: Limits.rate)
        try checkNumber(weightDecay, "weight_decay", high: Limits.rate)
        try checkNumber(deadlineS, "deadline_s")
        try checkNumber(balancePressure, "balance_pressure", high: 1)
        try ascending(use.map(\.layer), "layers of use")
        try need((use.last?.layer ?? 0) < ExpertId.reserved, "use names a layer above \(ExpertId.reserved - 1)")
        for layer in use {
            for share in layer.use { try checkNumber(share, "use", high: 1) }
        }
        if !masks.isEmpty { try checkTerms(self) }
    }
}

extension Delta: Payload {
    public static var limit: Int { Limits.body }

    public func check() throws {
        try checkName(device, "device")
        try checkDigest(planDigest, "plan digest")
        try known(codec)
        if masked.isEmpty {
            try need(members.isEmpty, "a list of members, and nothing under masks")
            try trained(experts.map { ($0.layer, $0.index) }, "experts of a delta")
        } else {
            try checkMasked(self)
        }
        guard examples > 0 else { throw WireError(.noExamples, "a delta of 0 examples has no weight") }
        try checkNumber(lossFirst, "loss_first", low: -largest)
        try checkNumber(lossLast, "loss_last", low: -largest)
        try checkNumber(stepMs, "step_ms")
        _ = try ascending(use.map { ($0.layer, $0.index) }, "uses")
        for one in use {
            try checkNumber(one.seen, "tokens seen")
            try checkNumber(one.routed, "tokens routed", high: Double(one.seen) * 1.0001) // both are sums of float32
        }
        guard labelCounts.count <= Limits.labels else {
            throw WireError(.tooLarge, "\(labelCounts.count) label counts, limit \(Limits.labels)")
        }
        for count in labelCounts { try checkNumber(count, "label count") }
    }
}

extension ClassStatistics: Payload {
    public static var limit: Int { Limits.body }

    public func check() throws {
        try checkName(device, "device")
        try checkDigest(federationDigest, "federation digest")
        let labels = counts.count / 4
        try need(width >= 1 && labels >= 1, "statistics of \(labels) labels and width \(width)")
        try need(try decodeValues(counts, labels).allSatisfy { $0 >= 0 }, "a count of statistics is negative")
        _ = try decodeValues(sums, labels * Int(width))
    }
}

extension Chunk: Payload {
    public func check() throws {
        try checkDigest(self.digest, "chunk digest")
        try need([.delta, .statistics, .blob].contains(kind), "chunk of kind \(kind.rawValue)")
        try need(index < count, "chunk \(index) of \(count)")
        try checkBody(total, count)
        _ = try pieceSize()
    }

    /// Returns the bytes of a full piece of the body, which every chunk of it implies; a chunk's own limits were checked.
    ///
    /// - Throws: ``WireError`` MALFORMED when the chunk's own bytes do not fit its index, count and total.
    func pieceSize() throws -> Int {
        let (size, total, index, count) = (payload.count, Int(self.total), Int(self.index), Int(self.count))
        let last = index == count - 1
        // The last piece is the rest, so the pieces before it share what it leaves.
        let left = total - size
        let piece = !last || index == 0 ? size : left >= 0 ? left / index : -1
        let expected = last ? total - piece * index : piece
        try need(
            size >= 1 && size <= piece && size == expected && (count - 1) * piece < total && total <= count * piece,
            "chunk \(index) of \(count) has \(size) bytes, which does not fit a body of \(total)")
        return piece
    }
}

private func checkBody(_ total: UInt64, _ count: UInt32) throws {
    guard total <= Limits.body else { throw WireError(.tooLarge, "body of \(total) bytes, limit \(Limits.body)") }
    guard count <= Limits.chunks else { throw WireError(.tooLarge, "body of \(count) chunks, limit \(Limits.chunks)") }
}

private func checkMissing(_ missing: Bytes) throws {
    try need(missing.count <= Limits.missingBytes, "missing has \(missing.count) bytes, limit \(Limits.missingBytes)")
}

extension Verdict: Payload {
    public func check() throws {
        try checkDigest(self.digest, "verdict digest")
        try need([.hello, .delta, .statistics].contains(kind), "verdict on kind \(kind.rawValue)")
        try need(code.rawValue > 0, "verdict with code \(code.rawValue)")
        try checkNumber(retryAfterS, "retry_after_s", high: Limits.retryS)
        try plainText(detail, "detail", Limits.detailBytes)
        try checkMissing(missing)
        if code == .incomplete {
            try need(kind != .hello, "a Hello that is incomplete")
            try need(retryAfterS > 0, "chunks are asked for without a time to send them in")
        } else {
            try need(missing.isEmpty, "chunks lack of a body with the verdict \(code.rawValue)")
        }
    }
}

extension Version: Payload {
    public func check() throws {
        try checkDigest(federationDigest, "federation digest")
        try checkDigest(self.digest, "version digest")
        try need(!blocks.isEmpty, "a version without blocks")
        let ids = try ascending(blocks.map { ($0.layer, $0.index) }, "blocks of a version")
        for block in blocks { try block.check() }
        guard versionDigest(Dictionary(uniqueKeysWithValues: zip(ids, blocks.map(\.digest)))) == self.digest else {
            throw WireError(.digestMismatch, "blocks of version \(version) do not have its digest")
        }
    }
}

extension Block {
    fileprivate func check() throws {
        try checkDigest(self.digest, "block digest")
        try need(updates.count <= Limits.updates, "a block of \(updates.count) updates, limit \(Limits.updates)")
        for update in updates {
            try checkDigest(update.base, "digest of an update's base")
            try checkDigest(update.digest, "digest of an update")
        }
    }
}

extension Want: Payload {
    public func check() throws {
        try checkName(device, "device")
        try need(
            (1...Limits.want).contains(digests.count), "\(digests.count) blobs wanted, expected 1 to \(Limits.want)")
        for one in digests { try checkDigest(one, "blob digest") }
        try need(
            missing.isEmpty || missing.count == digests.count,
            "\(missing.count) lists of chunks for \(digests.count) blobs")
        for one in missing { try checkMissing(one) }
    }
}

extension Offer: Payload {
    public func check() throws {
        try checkName(device, "device")
        try checkDigest(self.digest, "digest of an offer")
        try need(kind == .delta || kind == .statistics, "an offer of kind \(kind.rawValue)")
        try checkBody(total, count)
        let (total, count) = (Int(self.total), Int(self.count))
        try need(
            count > 0 && (count - 1) * ((total + count - 1) / count) < total,
            "a body of \(total) bytes is not cut into \(count) chunks")
    }
}
