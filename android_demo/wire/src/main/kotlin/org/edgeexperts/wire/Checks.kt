/** What each message must be beyond its schema. One function a message; [MessageKind] names them. */
package org.edgeexperts.wire

import com.google.protobuf.ByteString

/** Unsigned 32 bits, as the schema means them. */
internal val Int.u32: Long get() = toLong() and 0xFFFFFFFFL

/** What is offered and sent in chunks. */
private val BODIES = setOf(Kind.DELTA, Kind.STATISTICS, Kind.KEYS, Kind.SHARES, Kind.ANSWER)

internal inline fun need(condition: Boolean, detail: () -> String) {
    if (!condition) throw malformed(detail())
}

internal fun digest(value: ByteString, what: String) =
    need(value.size() == DIGEST_BYTES) { "$what has ${value.size()} bytes, expected $DIGEST_BYTES" }

private fun session(value: ByteString) =
    need(value.size() == SESSION_BYTES) { "gateway session has ${value.size()} bytes, expected $SESSION_BYTES" }

internal fun number(value: Float, what: String, low: Double = 0.0, high: Double = Double.MAX_VALUE) {
    if (value.isNaN() || value.isInfinite()) throw WireException(Code.NOT_FINITE, "$what is $value")
    need(value.toDouble() in low..high) { "$what is $value, expected $low to $high" }
}

private fun plainText(value: String, what: String, limit: Int) =
    need(plain(value, limit)) { "$what is over $limit bytes or not one plain line" }

private fun codec(codec: Int) {
    if (codec != Codec.FLOAT32_VALUE && codec != Codec.INT8_VALUE) {
        throw WireException(Code.UNSUPPORTED_CODEC, "codec $codec; known: 0 (float32), 1 (int8)")
    }
}

internal fun ascending(listed: List<Pair<Int, Int>>, what: String): List<ExpertId> {
    if (listed.size > BLOCKS_LIMIT) throw WireException(Code.TOO_LARGE, "${listed.size} $what, limit $BLOCKS_LIMIT")
    need(listed.all { (layer, index) -> layer.u32 <= RESERVED && index.u32 <= RESERVED }) {
        "$what name a number above $RESERVED"
    }
    val ids = listed.map { (layer, index) -> ExpertId(layer, index) }
    need(ids.zipWithNext().all { (a, b) -> a < b }) { "$what are not ascending and unique" }
    return ids
}

private fun trained(listed: List<Pair<Int, Int>>, what: String) {
    need(listed.isNotEmpty()) { "no $what" }
    val other = ascending(listed, what).find { it.layer == RESERVED && it != HEAD }
    need(other == null) { "$what name $other, which is not trained" }
}

internal fun checkGatewayState(state: GatewayState) {
    digest(state.federationDigest, "federation digest")
    session(state.session)
}

internal fun checkHello(hello: Hello) {
    checkName(hello.device, "device")
    digest(hello.federationDigest, "federation digest")
    digest(hello.packageDigest, "package digest")
    session(hello.gatewaySession)
    val (trained, held) = hello.trainedSlots.u32 to hello.heldSlots.u32
    need(trained in 1..held && held <= SLOTS_LIMIT) { "$trained slots trained of $held held" }
    need(hello.batchSize.u32 in 1..BATCH_LIMIT) { "batch size is ${hello.batchSize.u32}" }
    number(hello.stepMs, "step_ms")
    number(hello.secondsPerRound, "seconds_per_round")
    if (!hello.statisticsDigest.isEmpty) digest(hello.statisticsDigest, "statistics digest")
    reaches(hello.reachesList)
    plainText(hello.profile, "profile", NAME_BYTES)
    plainText(hello.runtime, "runtime", NAME_BYTES)
}

private fun reaches(reaches: List<Reach>) {
    need(reaches.size <= REACHES_LIMIT) { "${reaches.size} reaches, limit $REACHES_LIMIT" }
    val layers = reaches.map { it.layers.u32 }
    need(layers.all { it in 1 until RESERVED }) { "a reach of layers beyond 1 to ${RESERVED - 1}" }
    need(layers.zipWithNext().all { (a, b) -> a < b }) { "layers of reaches are not ascending and unique" }
    for (reach in reaches) {
        number(reach.stepMs, "step_ms of a reach")
        number(reach.trunkMs, "trunk_ms of a reach")
    }
}

internal fun checkBye(bye: Bye) {
    checkName(bye.device, "device")
}

internal fun checkPlan(plan: Plan) {
    checkName(plan.device, "device")
    digest(plan.versionDigest, "version digest")
    codec(plan.codecValue)
    trained(plan.trainList.map { it.layer to it.index }, "planned experts")
    need(plan.steps.u32 in 1..STEPS_LIMIT) { "${plan.steps.u32} steps, expected 1 to $STEPS_LIMIT" }
    number(plan.learningRate, "learning_rate", high = RATE_LIMIT)
    number(plan.sharedLearningRate, "shared_learning_rate", high = RATE_LIMIT)
    number(plan.headLearningRate, "head_learning_rate", high = RATE_LIMIT)
    number(plan.weightDecay, "weight_decay", high = RATE_LIMIT)
    number(plan.deadlineS, "deadline_s")
    number(plan.balancePressure, "balance_pressure", high = 1.0)
    val layers = plan.useList.map { it.layer.u32 }
    need(layers.zipWithNext().all { (a, b) -> a < b }) { "layers of use are not ascending and unique" }
    need(layers.isEmpty() || layers.last() < RESERVED) { "use names a layer above ${RESERVED - 1}" }
    plan.useList.forEach { layer -> layer.useList.forEach { number(it, "use", high = 1.0) } }
    if (plan.masksCount > 0) checkTerms(plan)
}

internal fun checkDelta(delta: Delta) {
    checkName(delta.device, "device")
    digest(delta.planDigest, "plan digest")
    codec(delta.codecValue)
    if (delta.maskedCount > 0) {
        checkMasked(delta)
    } else {
        need(delta.members.isEmpty) { "a list of members, and nothing under masks" }
        trained(delta.expertsList.map { it.layer to it.index }, "experts of a delta")
    }
    if (delta.examples == 0) throw WireException(Code.NO_EXAMPLES, "a delta of 0 examples has no weight")
    number(delta.lossFirst, "loss_first", low = -Double.MAX_VALUE)
    number(delta.lossLast, "loss_last", low = -Double.MAX_VALUE)
    number(delta.stepMs, "step_ms")
    ascending(delta.useList.map { it.layer to it.index }, "uses")
    for (use in delta.useList) {
        number(use.seen, "tokens seen")
        number(use.routed, "tokens routed", high = use.seen * 1.0001) // both are sums of float32
    }
    if (delta.labelCountsCount > LABELS_LIMIT) {
        throw WireException(Code.TOO_LARGE, "${delta.labelCountsCount} label counts, limit $LABELS_LIMIT")
    }
    delta.labelCountsList.forEach { number(it, "label count") }
}

internal fun checkClassStatistics(statistics: ClassStatistics) {
    checkName(statistics.device, "device")
    digest(statistics.federationDigest, "federation digest")
    val labels = statistics.counts.size() / 4L
    val width = statistics.width.u32
    need(width >= 1 && labels >= 1) { "statistics of $labels labels and width $width" }
    val counts = decodeValues(statistics.counts.toByteArray(), labels)
    need(counts.all { it >= 0 }) { "a count of statistics is negative" }
    decodeValues(statistics.sums.toByteArray(), labels * width)
}

internal fun checkChunk(chunk: Chunk) {
    digest(chunk.digest, "chunk digest")
    need(chunk.kind in BODIES || chunk.kind == Kind.BLOB) { "chunk of kind ${chunk.kindValue}" }
    need(chunk.index.u32 < chunk.count.u32) { "chunk ${chunk.index.u32} of ${chunk.count.u32}" }
    body(chunk.total, chunk.count.u32)
    pieceSize(chunk)
}

private fun body(total: Long, count: Long) {
    if (total !in 0..BODY_LIMIT) { // beyond 63 bits it reads as negative
        throw WireException(Code.TOO_LARGE, "body of ${total.toULong()} bytes, limit $BODY_LIMIT")
    }
    if (count > CHUNKS_LIMIT) throw WireException(Code.TOO_LARGE, "body of $count chunks, limit $CHUNKS_LIMIT")
}

/**
 * Returns the bytes of a full piece of the body, which every chunk of it implies.
 *
 * @throws WireException MALFORMED when the chunk's own bytes do not fit its index, count and total.
 */
internal fun pieceSize(chunk: Chunk): Long {
    val (size, total) = chunk.payload.size().toLong() to chunk.total
    val (index, count) = chunk.index.u32 to chunk.count.u32
    val last = index == count - 1
    // The last piece is the rest, so the pieces before it share what it leaves.
    val piece = if (!last || index == 0L) size else Math.floorDiv(total - size, index)
    val expected = if (last) total - piece * index else piece
    need(size in 1..piece && size == expected && (count - 1) * piece < total && total <= count * piece) {
        "chunk $index of $count has $size bytes, which does not fit a body of $total"
    }
    return piece
}

internal fun checkVerdict(verdict: Verdict) {
    digest(verdict.digest, "verdict digest")
    need(verdict.kind in BODIES || verdict.kind == Kind.HELLO) { "verdict on kind ${verdict.kindValue}" }
    need(verdict.codeValue > 0) { "verdict with code ${verdict.codeValue}" }
    number(verdict.retryAfterS, "retry_after_s", high = RETRY_LIMIT_S)
    plainText(verdict.detail, "detail", DETAIL_BYTES)
    missing(verdict.missing)
    if (verdict.code == Code.INCOMPLETE) {
        need(verdict.kind != Kind.HELLO) { "a Hello that is incomplete" }
        need(verdict.retryAfterS > 0) { "chunks are asked for without a time to send them in" }
    } else {
        need(verdict.missing.isEmpty) { "chunks lack of a body with the verdict ${verdict.codeValue}" }
    }
}

private fun missing(missing: ByteString) =
    need(missing.size() <= MISSING_BYTES) { "missing has ${missing.size()} bytes, limit $MISSING_BYTES" }

internal fun checkVersion(version: Version) {
    digest(version.federationDigest, "federation digest")
    digest(version.digest, "version digest")
    need(version.blocksCount > 0) { "a version without blocks" }
    val ids = ascending(version.blocksList.map { it.layer to it.index }, "blocks of a version")
    version.blocksList.forEach(::checkBlock)
    val blocks = ids.zip(version.blocksList.map { it.digest.toByteArray() }).toMap()
    if (!versionDigest(blocks).contentEquals(version.digest.toByteArray())) {
        throw WireException(Code.DIGEST_MISMATCH, "blocks of version ${version.version} do not have its digest")
    }
}

private fun checkBlock(block: Block) {
    digest(block.digest, "block digest")
    need(block.updatesCount <= UPDATES_LIMIT) { "a block of ${block.updatesCount} updates, limit $UPDATES_LIMIT" }
    for (update in block.updatesList) {
        digest(update.base, "digest of an update's base")
        digest(update.digest, "digest of an update")
    }
}

internal fun checkWant(want: Want) {
    checkName(want.device, "device")
    need(want.digestsCount in 1..WANT_LIMIT) { "${want.digestsCount} blobs wanted, expected 1 to $WANT_LIMIT" }
    want.digestsList.forEach { digest(it, "blob digest") }
    need(want.missingCount == 0 || want.missingCount == want.digestsCount) {
        "${want.missingCount} lists of chunks for ${want.digestsCount} blobs"
    }
    want.missingList.forEach(::missing)
}

internal fun checkOffer(offer: Offer) {
    checkName(offer.device, "device")
    digest(offer.digest, "digest of an offer")
    need(offer.kind in BODIES) { "an offer of kind ${offer.kindValue}" }
    val (total, count) = offer.total to offer.count.u32
    body(total, count)
    need(count > 0 && (count - 1) * ((total + count - 1) / count) < total) {
        "a body of $total bytes is not cut into $count chunks"
    }
}
