/**
 * The plan that a device works on, and what must outlive a kill: plan, checkpoint, delta, error feedback.
 *
 * Order of writes on disk, each atomic:
 *     begin    plan
 *     step     checkpoint (every few seconds)
 *     finish   residuals (named by the delta's digest), delta; then plan and checkpoint go
 *              under masks: unmasked, then plan and checkpoint go; once it is known who dealt: residuals, delta, and
 *              unmasked goes (Masks.kt has what else a round under masks keeps)
 *     settle   feedback (when accepted), done; an accepted delta is renamed to sent, another one goes; residuals go
 *     version  of that round or a later one: sent goes
 * A kill between any two leaves a state from which [Work.resume] goes on to the same bytes: training is deterministic,
 * and a residual counts only with the delta that it belongs to.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankException
import org.edgeexperts.wire.ClassSums
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Plan
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.secure.SEED_BYTES
import org.edgeexperts.wire.secure.Terms
import org.edgeexperts.wire.sha256
import java.security.SecureRandom

private const val REMEMBERED = 32

/** Records of the plan at hand; another device's are of no use to this one. */
internal val WORK_RECORDS =
    listOf("plan", "checkpoint", "delta", "sent", "residuals", "feedback", "done", UNMASKED) + MASK_RECORDS

/**
 * A delta that waits for its verdict.
 *
 * @property digest over the body.
 * @property round and [planDigest] (hex): what it belongs to.
 */
internal class PendingDelta(val digest: ByteArray, val body: ByteArray, val round: Long, val planDigest: String)

/** An accepted delta, kept until a version of its round is announced; [digest] is over its body. */
internal class SentDelta(val digest: ByteArray, val round: Long)

/** A plan with the digest (hex) of its bytes; [fresh] is these bytes, or null where it was read from the disk. */
internal class Planned(val plan: Plan, val digest: String, val fresh: ByteArray?)

/** The plan that is being trained. */
internal class Training(val plan: Plan, val digest: String, val bank: Bank, val trainer: Trainer)

/**
 * What a device has at hand: a plan that waits, the one that it trains, a delta that is pending; kept on disk.
 *
 * @param tools for training.
 * @param watch chooses the tier of each plan.
 * @property signer of its keys under masks, where it has a certificate.
 */
internal class Work(
    val tools: Tools,
    val store: Store,
    val versions: Versions,
    private val device: String,
    private val watch: Watch,
    val signer: MaskSigner? = null,
) {
    var waiting: Planned? = null
        private set
    var training: Training? = null
        private set
    var pending: PendingDelta? = null
        private set
    var sent: SentDelta? = null
        private set

    /** What was trained under masks, until it is known who dealt. */
    var unmasked: Unmasked? = null
        private set

    /** The round under masks at hand. */
    val masks = Masks(store, device, signer)

    /** Of its data; a round under masks may ask for them. */
    var classSums: ClassSums? = null
    private var done = emptyList<String>()

    /** The tier that is offered for plans. */
    val largest get() = watch.largest

    /** Reads what an earlier process left, and returns the work that it was at. */
    fun resume(): WorkState {
        done = (store.recall("done")?.head?.get("plans") as? List<*>).orEmpty().filterIsInstance<String>()
        sent = store.recall("sent")?.let { SentDelta(sha256(it.body), it.head["round"] as Long) }
        store.recall("delta")?.let { left ->
            pending = PendingDelta(sha256(left.body), left.body, left.head["round"] as Long, left.head["plan"] as String)
            dropTraining()
            store.remove(UNMASKED)
            return WorkState.UPLOADING
        }
        unmasked = Unmasked.recall(store)
        unmasked?.let { trained ->
            if (masks.planDigest == trained.planDigest) {
                dropTraining()
                return WorkState.TRAINING // but for its masks
            }
            abandon()
        }
        val plan = store.recall("plan") ?: return WorkState.IDLE
        if ((plan.head["data"] ?: data) != data) {
            dropTraining() // the head may not know these data's labels: the gateway says whether the plan holds
            return WorkState.IDLE
        }
        waiting = Planned(MessageKind.PLAN.decode(plan.body), hex(sha256(plan.body)), null)
        return WorkState.WAITING
    }

    /**
     * Takes a plan's bytes; null when it is done, or the one at hand.
     *
     * @throws WireException when the bytes are no plan for this device.
     */
    fun take(payload: ByteArray): Plan? {
        val plan = MessageKind.PLAN.decode(payload)
        if (plan.device != device) {
            throw WireException(Code.MALFORMED, "a plan for ${plan.device} came on the topic of $device")
        }
        if (plan.masksList.any { Terms(it).run { private && circles.keys.any { circle -> ofClasses(circle) != null } } }) {
            throw WireException(Code.UNSUPPORTED_WIRE, "a plan that asks for class sums beside noise, which they would not have")
        }
        val digest = hex(sha256(payload))
        // A plan is retained: it comes again with every connection, also while its delta waits for the verdict.
        if (digest in done || digest in atHand()) return null
        waiting = Planned(plan, digest, payload)
        return plan
    }

    private fun atHand() = listOf(waiting?.digest, training?.digest, pending?.planDigest, unmasked?.planDigest)

    /** Forgets the plan that waits. */
    fun withdraw() {
        waiting = null
    }

    /** Digests of the versions that plans at hand start from. */
    val wantedVersions: List<ByteArray>
        get() = listOfNotNull(waiting?.plan, training?.plan).map { it.versionDigest.toByteArray() }

    /** Whether the waiting plan is one that this device had begun: it may go on before a gateway is there. */
    val resumed: Boolean get() = waiting?.let { it.fresh == null } ?: false

    /** Whether the waiting plan's version is complete. */
    val ready: Boolean
        get() = waiting?.let { versions.find(it.plan.versionDigest.toByteArray()) }
            ?.let { versions.missing(it).isEmpty() } ?: false

    /**
     * Starts the waiting plan, or goes on with its checkpoint; null when a block of its version proved damaged.
     *
     * @throws PlanException when the plan cannot be carried out here; it is then done with.
     * @throws BankException when its version cannot be run; the same.
     */
    fun begin(): Training? {
        val planned = waiting ?: return null
        val version = versions.find(planned.plan.versionDigest.toByteArray()) ?: return null
        val begun = try {
            val bank = versions.bank(version) ?: return null
            val task = taskOf(planned.plan)
            val trainer = Trainer(tools, bank, task, watch.begin(needOf(task.train, bank.shape)))
            Training(planned.plan, planned.digest, bank, trainer)
        } catch (error: PlanException) {
            throw givenUp(planned, error)
        } catch (error: BankException) {
            throw givenUp(planned, error)
        }
        planned.fresh?.let { store.write("plan", Record(mapOf("data" to data), it)) }
        restore(begun)
        training = begun
        withdraw()
        return begun
    }

    private fun <E : Exception> givenUp(planned: Planned, error: E): E {
        finished(planned.digest)
        withdraw()
        return error
    }

    private fun restore(begun: Training) {
        val saved = store.recall("checkpoint") ?: return
        if (saved.head != marks(begun.digest)) return
        try {
            begun.trainer.restore(saved.tensors())
        } catch (_: DamagedException) { // of another program: start the plan again
            store.remove("checkpoint")
        }
    }

    /** What a checkpoint belongs to: other examples would make another run of the plan. */
    private fun marks(planDigest: String) = mapOf("plan" to planDigest, "data" to data)

    private val data get() = hex(tools.source.digest)

    /** Between two steps: moves to another tier if the device's memory or heat ask for it; returns what was done. */
    fun adapt(): String = training?.let { watch.look(it.trainer) }.orEmpty()

    /** Writes a checkpoint of the training at hand. */
    fun save() {
        val at = training ?: return
        if (at.trainer.steps > 0) store.write("checkpoint", Record.of(marks(at.digest), at.trainer.checkpoint()))
    }

    /**
     * Turns the training at hand into a delta that waits for its verdict; under masks, for who dealt before that.
     *
     * @throws WireException NOT_FINITE when training diverged; the plan is then done with.
     */
    fun finish() {
        val at = checkNotNull(training) { "the session says TRAINING" }
        val outcome = at.trainer.outcome()
        val residuals = unpackResiduals(store.recall("feedback")?.tensors().orEmpty(), at.bank.shape)
        val plan = at.plan
        val origin = Origin(device, fromHex(at.digest), plan.round, plan.baseVersion, plan.codecValue)
        val topk = tools.manifest.architecture.gate == "topk"
        try {
            if (plan.masksCount > 0) {
                val trained = Unmasked.of(origin, plan.getMasks(0), at.bank, outcome, residuals, classSums, seed())
                store.write(UNMASKED, trained.record())
                unmasked = trained
            } else {
                val built = buildDelta(origin, at.bank, at.trainer.slots, outcome, residuals, topk)
                keepDelta(PendingDelta(sha256(built.body), built.body, plan.round, at.digest), built.residuals)
            }
        } catch (error: WireException) {
            abandon()
            throw error
        } catch (error: SecureException) {
            abandon()
            throw WireException(Code.NOT_FINITE, error.message.orEmpty(), error)
        }
        rememberPace(at.trainer, outcome.stepMs)
        dropTraining()
    }

    /**
     * Turns what was trained into a delta under masks that waits for its verdict.
     *
     * @throws SecureException when it cannot be masked; the plan is then done with.
     */
    fun mask() {
        val trained = checkNotNull(unmasked) { "the caller looked" }
        val body = try {
            trained.delta(masks)
        } catch (error: SecureException) {
            abandon()
            throw error
        }
        keepDelta(PendingDelta(sha256(body), body, trained.origin.round, trained.planDigest), trained.left)
        unmasked = null
        store.remove(UNMASKED)
    }

    private fun seed() = ByteArray(SEED_BYTES).also(SecureRandom()::nextBytes)

    /** Keeps a delta, and before it what its codec left behind. */
    private fun keepDelta(left: PendingDelta, residuals: Map<ExpertId, FloatArray>) {
        val blocks = residuals.keys.sorted().map { "${it.layer}.${it.index}" }
        val head = mapOf("delta" to hex(left.digest), "blocks" to blocks)
        store.write("residuals", Record.of(head, packResiduals(residuals)))
        store.write("delta", Record(mapOf("round" to left.round, "plan" to left.planDigest), left.body))
        pending = left
    }

    /** Forgets the delta; what its codec left behind counts for the next one when it was [accepted]. */
    fun settle(accepted: Boolean) {
        val left = pending ?: return
        if (accepted) mergeResiduals(hex(left.digest))
        finished(left.planDigest)
        if (accepted) {
            // The gateway's disk may lose what it accepted, and then it asks for the same bytes again.
            store.rename("delta", "sent")
            sent = SentDelta(left.digest, left.round)
        } else {
            store.remove("delta")
        }
        store.remove("residuals")
        pending = null
    }

    /** The body of the accepted delta that is kept; null when there is none, or it is damaged. */
    fun sentBody(): ByteArray? = sent?.let { store.recall("sent")?.body }

    /** Drops the accepted delta that is kept: a version of [round] is announced, or (null) it is refused. */
    fun letGo(round: Long? = null) {
        val kept = sent ?: return
        if (round != null && round < kept.round) return
        sent = null
        store.remove("sent")
    }

    private fun mergeResiduals(digest: String) {
        val fresh = store.recall("residuals")?.takeIf { it.head["delta"] == digest } ?: return
        val old = store.recall("feedback")
        val kept = old?.tensors().orEmpty() - (fresh.head["blocks"] as List<*>).map { it as String }.toSet()
        store.write("feedback", Record.of(emptyMap(), kept + fresh.tensors()))
    }

    /** Drops the training at hand; its plan is not taken up again. */
    fun abandon() {
        training?.let { finished(it.digest) }
        unmasked?.let {
            finished(it.planDigest)
            unmasked = null
            store.remove(UNMASKED)
        }
        dropTraining()
    }

    /** Drops the plan that waits; it is not taken up again. */
    fun refuse() {
        waiting?.let { finished(it.digest) }
        withdraw()
        dropTraining()
    }

    /** Whether the delta of the round under masks at hand is made. */
    val masksDelivered: Boolean
        get() = pending?.let { it.planDigest == masks.planDigest } ?: false || sent?.let { it.round == masks.round } ?: false

    private fun dropTraining() {
        training = null
        store.remove("plan")
        store.remove("checkpoint")
    }

    private fun finished(planDigest: String) {
        if (planDigest in done) return
        done = (done + planDigest).takeLast(REMEMBERED)
        store.write("done", Record(mapOf("plans" to done)))
    }

    // --- how fast it is -----------------------------------------------------------------------------------------

    private fun rememberPace(trainer: Trainer, stepMs: Double) {
        val measured = trainer.pace?.let { pace ->
            // A round may find every prefix: the trunk is as slow as before.
            val trunkMs = if (pace.trunkMs > 0) pace.trunkMs else paces[trainer.tier.method]?.trunkMs ?: 0.0
            mapOf(trainer.tier.method to pace.copy(trunkMs = trunkMs))
        }
        val kept = (paces + measured.orEmpty()).mapValues { (_, pace) -> listOf(pace.stepMs, pace.trunkMs) }
        store.write("measure", Record(mapOf("step_ms" to stepMs, "paces" to kept)))
    }

    private val paces: Map<String, Pace>
        get() = (store.recall("measure")?.head?.get("paces") as? Map<*, *>).orEmpty().entries.associate { (method, times) ->
            val (step, trunk) = (times as List<*>).map { it as Double }
            method as String to Pace(step, trunk)
        }

    /** The depths that this device can train, ascending, and how fast it is there. */
    val reaches: Map<Int, Pace> get() = reaches(watch.tiers, watch.largest, paces)

    /** Median step time of the last round on this device; 0 before the first. */
    val stepMs: Double get() = (store.recall("measure")?.head?.get("step_ms") as? Double) ?: 0.0
}

/** Returns a plan's task. */
internal fun taskOf(plan: Plan): Task = Task(
    train = plan.trainList.map { it.id() },
    steps = plan.steps,
    learningRate = plan.learningRate.toDouble(),
    sharedLearningRate = plan.sharedLearningRate.toDouble(),
    headLearningRate = plan.headLearningRate.toDouble(),
    weightDecay = plan.weightDecay.toDouble(),
    seed = plan.seed,
    use = plan.useList.associate { it.layer to it.useList.toFloatArray() },
    pressure = plan.balancePressure.toDouble(),
)
