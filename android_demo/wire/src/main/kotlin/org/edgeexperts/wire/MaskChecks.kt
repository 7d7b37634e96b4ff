/** What a plan and a delta say of sums under masks: SPEC.md, "Rounds under masks". */
package org.edgeexperts.wire

import com.google.protobuf.ByteString
import org.edgeexperts.wire.secure.KEY_BYTES
import org.edgeexperts.wire.secure.LEAST_BITS
import org.edgeexperts.wire.secure.LEAST_MEMBERS
import org.edgeexperts.wire.secure.MOST_BITS
import org.edgeexperts.wire.secure.MOST_MEMBERS

/** Of the rules for rounds under masks, as a plan's terms name them. */
public const val MASKS_VERSION: Int = 1

/** Likewise, with noise. */
public const val NOISE_VERSION: Int = 2

/** Of all integers of a device, in steps. */
private const val NORM_MOST = 1L shl 31

private const val LEAST_VARIANCE = 16L
internal const val MOST_VARIANCE = 1L shl 25

/** Circles of a plan. */
private const val CIRCLES_LIMIT = 64

/** Of an integer's size. */
private const val LIMIT_MOST = 1L shl 20

private const val STEP_MOST = 1e6

/** Integers of class sums at most. */
private const val CLASS_LIMIT_MOST = 1L shl 30

private const val CLASS_STEP_LEAST = 1.0 / (1L shl 30)

/** What a circle of class sums has in the place of blocks of the bank. */
internal val CLASS_SUMS = ExpertId(RESERVED, 2)

internal fun checkTerms(plan: Plan) {
    need(plan.masksCount == 1) { "${plan.masksCount} terms of masks, expected one" }
    val terms = plan.getMasks(0)
    val version = terms.version
    if (version != MASKS_VERSION && version != NOISE_VERSION) {
        val known = "$MASKS_VERSION and $NOISE_VERSION are known here"
        throw WireException(Code.UNSUPPORTED_WIRE, "masks of version ${version.u32}, $known")
    }
    noise(terms)
    circles(terms.circlesList.map { it.number.u32 }, "circles of a plan")
    val (classes, trained) = terms.circlesList.map { circle ->
        need(circle.blocksCount > 0) { "circle ${circle.number.u32} has no blocks" }
        ascending(circle.blocksList.map { it.layer to it.index }, "blocks of a circle")
    }.partition { it == listOf(CLASS_SUMS) }
    need(classes.size <= 1) { "${classes.size} circles of class sums, expected one" }
    val listed = trained.flatten()
    need(listed.sorted() == ascending(plan.trainList.map { it.layer to it.index }, "planned experts")) {
        "circles have other blocks than the plan"
    }
    val (limit, weight) = terms.limit.u32 to terms.mostWeight.u32
    need(limit in 1..LIMIT_MOST) { "integers of up to $limit, expected 1 to $LIMIT_MOST" }
    need(weight in 1..limit) { "weights up to $weight, expected 1 to $limit" }
    number(terms.examplesPerWeight, "examples_per_weight", high = STEP_MOST)
    need(terms.examplesPerWeight > 0) { "a weight that stands for no examples" }
    if (listed.any { it == HEAD }) sizes(terms.headStep, terms.headNorm, "head")
    if (listed.any { it != HEAD && it.shared }) sizes(terms.sharedStep, terms.sharedNorm, "shared")
    if (listed.any { it != HEAD && !it.shared }) sizes(terms.expertStep, terms.expertNorm, "expert")
    if (classes.isNotEmpty()) classTerms(terms)
}

private fun classTerms(terms: MaskTerms) {
    val step = terms.classStep
    number(step, "class_step", CLASS_STEP_LEAST, STEP_MOST)
    need(step == Math.scalb(1f, Math.getExponent(step))) { "class_step $step is no power of two" }
    number(terms.classExamples, "class_examples", high = CLASS_LIMIT_MOST * step.toDouble())
    need(terms.classExamples > 0) { "class sums of no examples" }
}

private fun sizes(step: Float, norm: Float, kind: String) {
    for ((value, what) in listOf(step to "step", norm to "norm")) {
        number(value, "${kind}_$what", high = STEP_MOST)
        need(value > 0) { "${kind}_$what is 0, and such a block is trained" }
    }
}

/** Noise is told whole, and only where it is asked for. */
private fun noise(terms: MaskTerms) {
    if (terms.version == MASKS_VERSION) {
        val told = terms.wholeNorm != 0L || terms.circlesList.any { it.variance != 0L || it.least != 0 }
        need(!told) { "noise in terms of version $MASKS_VERSION" }
        return
    }
    need(terms.wholeNorm in 1..NORM_MOST) { "a norm of ${terms.wholeNorm.toULong()}, expected 1 to $NORM_MOST" }
    need(terms.mostWeight == 1) { "weights up to ${terms.mostWeight.u32} beside noise, expected 1" }
    for (circle in terms.circlesList) {
        need(circle.variance in LEAST_VARIANCE..MOST_VARIANCE) {
            "noise of variance ${circle.variance.toULong()}, expected $LEAST_VARIANCE to $MOST_VARIANCE"
        }
        need(circle.least.u32 in LEAST_MEMBERS..MOST_MEMBERS) {
            "noise for ${circle.least.u32} survivors, expected $LEAST_MEMBERS to $MOST_MEMBERS"
        }
    }
}

internal fun checkMasked(delta: Delta) {
    digest(delta.members, "digest of a list of members")
    circles(delta.maskedList.map { it.number.u32 }, "circles of a delta")
    need(delta.expertsCount == 0 && delta.useCount == 0 && delta.labelCountsCount == 0) {
        "a delta under masks with values that are not"
    }
    need(delta.maskedList.none { it.words.isEmpty }) { "a circle without values" }
}

internal fun circles(numbers: List<Long>, what: String) {
    if (numbers.size > CIRCLES_LIMIT) {
        throw WireException(Code.TOO_LARGE, "${numbers.size} $what, limit $CIRCLES_LIMIT")
    }
    need(numbers.isNotEmpty()) { "no $what" }
    need(numbers.zipWithNext().all { (a, b) -> a < b }) { "$what are not ascending and unique" }
}

internal fun checkMaskRound(round: MaskRound) {
    checkName(round.device, "device")
    digest(round.planDigest, "plan digest")
    digest(round.members, "digest of a list of members")
    if (!round.dealt.isEmpty) digest(round.dealt, "digest of dealt")
    if (!round.survivors.isEmpty) digest(round.survivors, "digest of survivors")
    need(round.survivors.isEmpty || !round.dealt.isEmpty) { "survivors, and nobody dealt" }
}

internal fun checkMembers(list: MaskMembers) {
    val count = list.membersCount
    if (count > MOST_MEMBERS) throw WireException(Code.TOO_LARGE, "a list of $count members, limit $MOST_MEMBERS")
    need(count > 0) { "a list without members" }
    val numbers = list.circlesList.map { it.number.u32 }
    need(numbers.isNotEmpty()) { "a list without circles" }
    need(numbers.zipWithNext().all { (a, b) -> a < b }) { "listed circles are not ascending and unique" }
    for (circle in list.circlesList) {
        need(circle.bits.u32 in LEAST_BITS..MOST_BITS) { "a ring of ${circle.bits.u32} bits" }
        val largest = maxOf(circle.neighbours.u32, circle.threshold.u32, circle.least.u32)
        need(largest <= MOST_MEMBERS) { "circle ${circle.number.u32} names $largest members, limit $MOST_MEMBERS" }
    }
    val every = numbers.toSet()
    for (member in list.membersList) {
        if (!member.keys.isEmpty) { // what is in them is checked where they are decoded
            val others = !member.digest.isEmpty || !member.sharing.isEmpty || member.maskingCount > 0
            need(!others) { "a member that signed its keys, and others" }
            bounded(member.keys, MESSAGE_LIMIT, "keys")
            continue
        }
        digest(member.digest, "digest of keys")
        key(member.sharing)
        val own = member.maskingList.map { it.circle.u32 }
        circles(own, "masking keys of a member")
        need(every.containsAll(own)) { "a member has a key for a circle that is not listed" }
        member.maskingList.forEach { key(it.key) }
    }
}

internal fun checkDealt(dealt: MaskDealt) {
    digest(dealt.members, "digest of a list of members")
    bits(dealt.dealt, "bits of who dealt")
    val places = dealt.sharesList.map { it.place.u32 }
    need(places.zipWithNext().all { (a, b) -> a < b }) { "shares are not ascending and unique" }
    need(places.isEmpty() || places.last() < MOST_MEMBERS) { "shares name a place above ${MOST_MEMBERS - 1}" }
}

internal fun checkSurvivors(survivors: MaskSurvivors) {
    digest(survivors.members, "digest of a list of members")
    bits(survivors.dealt, "bits of who dealt")
    bits(survivors.survivors, "bits of survivors")
}

private fun key(public: ByteString) =
    need(public.size() == KEY_BYTES) { "a public key has ${public.size()} bytes, expected $KEY_BYTES" }

private fun bits(bits: ByteString, what: String) = need(bits.size() in 1..MOST_MEMBERS / 8) {
    "$what have ${bits.size()} bytes, expected 1 to ${MOST_MEMBERS / 8}"
}
