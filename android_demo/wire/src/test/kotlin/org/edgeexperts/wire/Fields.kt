/** All fields of a message as the vectors write them: floats exact, bytes in hex, 64 bits as text, enums as numbers. */
package org.edgeexperts.wire

import com.google.protobuf.ByteString
import com.google.protobuf.MessageLite

private fun hex(bytes: ByteString) = hex(bytes.toByteArray())

private fun u64(value: Long) = value.toULong().toString()

private fun numbers(values: List<Float>) = values.map(Float::toDouble)

private fun ref(layer: Int, index: Int, vararg more: Pair<String, Any?>) =
    mapOf("layer" to layer.u32, "index" to index.u32, *more)

fun fieldsOf(message: MessageLite): Map<String, Any?> = when (message) {
    is GatewayState -> message.fields()
    is Hello -> message.fields()
    is Bye -> mapOf("wire_version" to message.wireVersion.u32, "device" to message.device)
    is Plan -> message.fields()
    is Delta -> message.fields()
    is ClassStatistics -> message.fields()
    is Chunk -> message.fields()
    is Verdict -> message.fields()
    is Version -> message.fields()
    is Want -> message.fields()
    is Offer -> message.fields()
    else -> error("no message of the contract: ${message.javaClass}")
}

private fun GatewayState.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "federation_digest" to hex(federationDigest),
    "online" to online,
    "session" to hex(session),
    "version" to u64(version),
    "round" to u64(round),
    "rounds_planned" to u64(roundsPlanned),
    "finished" to finished,
    "serial" to u64(serial),
    "signature" to hex(signature),
)

private fun Hello.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "device" to device,
    "federation_digest" to hex(federationDigest),
    "package_digest" to hex(packageDigest),
    "gateway_session" to hex(gatewaySession),
    "profile" to profile,
    "runtime" to runtime,
    "trained_slots" to trainedSlots.u32,
    "held_slots" to heldSlots.u32,
    "batch_size" to batchSize.u32,
    "step_ms" to stepMs.toDouble(),
    "examples" to examples.u32,
    "bytes_up_per_round" to u64(bytesUpPerRound),
    "bytes_down_per_round" to u64(bytesDownPerRound),
    "seconds_per_round" to secondsPerRound.toDouble(),
    "codecs" to codecsValueList.map(Int::toLong),
    "statistics_digest" to hex(statisticsDigest),
    "reaches" to reachesList.map {
        mapOf("layers" to it.layers.u32, "step_ms" to it.stepMs.toDouble(), "trunk_ms" to it.trunkMs.toDouble())
    },
    "masks" to masks.u32,
    "devices" to devices.u32,
    "signs_keys" to signsKeys,
)

private fun Plan.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "device" to device,
    "round" to u64(round),
    "base_version" to u64(baseVersion),
    "version_digest" to hex(versionDigest),
    "train" to trainList.map { ref(it.layer, it.index) },
    "steps" to steps.u32,
    "learning_rate" to learningRate.toDouble(),
    "shared_learning_rate" to sharedLearningRate.toDouble(),
    "head_learning_rate" to headLearningRate.toDouble(),
    "weight_decay" to weightDecay.toDouble(),
    "seed" to u64(seed),
    "deadline_s" to deadlineS.toDouble(),
    "codec" to codecValue.toLong(),
    "use" to useList.map { mapOf("layer" to it.layer.u32, "use" to numbers(it.useList)) },
    "balance_pressure" to balancePressure.toDouble(),
    "masks" to masksList.map { it.fields() },
    "serial" to u64(serial),
    "signature" to hex(signature),
)

private fun MaskTerms.fields() = mapOf(
    "version" to version.u32,
    "circles" to circlesList.map { circle ->
        mapOf(
            "number" to circle.number.u32,
            "blocks" to circle.blocksList.map { ref(it.layer, it.index) },
            "variance" to u64(circle.variance),
            "least" to circle.least.u32,
        )
    },
    "limit" to limit.u32,
    "most_weight" to mostWeight.u32,
    "examples_per_weight" to examplesPerWeight.toDouble(),
    "expert_step" to expertStep.toDouble(),
    "shared_step" to sharedStep.toDouble(),
    "head_step" to headStep.toDouble(),
    "expert_norm" to expertNorm.toDouble(),
    "shared_norm" to sharedNorm.toDouble(),
    "head_norm" to headNorm.toDouble(),
    "class_step" to classStep.toDouble(),
    "class_examples" to classExamples.toDouble(),
    "whole_norm" to u64(wholeNorm),
)

private fun Delta.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "device" to device,
    "plan_digest" to hex(planDigest),
    "round" to u64(round),
    "base_version" to u64(baseVersion),
    "examples" to examples.u32,
    "codec" to codecValue.toLong(),
    "experts" to expertsList.map { ref(it.layer, it.index, "values" to hex(it.values)) },
    "loss_first" to lossFirst.toDouble(),
    "loss_last" to lossLast.toDouble(),
    "step_ms" to stepMs.toDouble(),
    "steps" to steps.u32,
    "use" to useList.map {
        ref(it.layer, it.index, "routed" to it.routed.toDouble(), "seen" to it.seen.toDouble())
    },
    "label_counts" to numbers(labelCountsList),
    "members" to hex(members),
    "masked" to maskedList.map { mapOf("number" to it.number.u32, "words" to hex(it.words)) },
)

private fun ClassStatistics.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "device" to device,
    "federation_digest" to hex(federationDigest),
    "width" to width.u32,
    "counts" to hex(counts),
    "sums" to hex(sums),
)

private fun Chunk.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "kind" to kindValue.toLong(),
    "digest" to hex(digest),
    "index" to index.u32,
    "count" to count.u32,
    "total" to u64(total),
    "payload" to hex(payload),
)

private fun Verdict.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "kind" to kindValue.toLong(),
    "digest" to hex(digest),
    "code" to codeValue.toLong(),
    "detail" to detail,
    "retry_after_s" to retryAfterS.toDouble(),
    "want_statistics" to wantStatistics,
    "round" to u64(round),
    "missing" to hex(missing),
    "serial" to u64(serial),
    "signature" to hex(signature),
)

private fun Version.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "federation_digest" to hex(federationDigest),
    "version" to u64(version),
    "parent" to u64(parent),
    "digest" to hex(digest),
    "round" to u64(round),
    "blocks" to blocksList.map { ref(it.layer, it.index, "digest" to hex(it.digest), "updates" to it.updates()) },
    "serial" to u64(serial),
    "signature" to hex(signature),
)

private fun Block.updates() = updatesList.map { mapOf("base" to hex(it.base), "digest" to hex(it.digest)) }

private fun Want.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "device" to device,
    "digests" to digestsList.map(::hex),
    "missing" to missingList.map(::hex),
)

private fun Offer.fields() = mapOf(
    "wire_version" to wireVersion.u32,
    "device" to device,
    "kind" to kindValue.toLong(),
    "digest" to hex(digest),
    "count" to count.u32,
    "total" to u64(total),
)
