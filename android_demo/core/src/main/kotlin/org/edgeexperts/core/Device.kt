/**
 * A device in a federation: ties session, membership, work and link together, as edge_runtime/federation/device.py does.
 *
 * One thread does everything but the broker's sockets: take events, let the session decide, act, make one training step,
 * look again. So a step is never interrupted half way, and nothing here needs a lock.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.BankException
import org.edgeexperts.wire.Bye
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.Verdict
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.WireException
import java.util.concurrent.BlockingQueue
import java.util.concurrent.TimeUnit

/** How long topics of blobs that came are listened to, at most: another device may ask for the same blob. */
private const val RELEASE_S = 0.25

/** How long a blob is on its way before its pieces are written down. */
private const val PIECES_S = 2.0

/**
 * One device, from connecting until it is stopped or done.
 *
 * @param work the plan at hand and its delta.
 * @param link to the broker; its events come through [inbox].
 * @param board where its state is shown.
 * @param options how it takes part.
 * @param stopped asked before every turn; true ends [run] after the step at hand.
 */
internal class Device(
    private val identity: Identity,
    private val work: Work,
    private val link: Link,
    private val inbox: BlockingQueue<LinkEvent>,
    private val board: StateBoard,
    private val options: PartOptions,
    private val clock: Clock,
    private val stopped: () -> Boolean,
) {
    private val architecture = work.tools.manifest.architecture
    private val versions = work.versions
    private val fetcher =
        Fetcher(versions, link, identity.device, architecture.bankShape(), PieceFiles(work.store.pieces))
    private val timers = Timers(clock.seconds, clock.chance)
    private val membership = Membership(identity, work, link, timers, board, clock.millis) { metered }
    private val trust = Trust(identity.gatewayKey, work.store)
    private var savedAt = 0.0
    private var spentMs = 0.0
    private var against = emptySet<Hindrance>()
    private val delivery = DeltaDelivery(identity.device, work, link, timers) { metered }
    private val masks = MaskDelivery(identity.device, work.masks, link, timers, board, { metered }, ::masksOver)

    /** Where it stands. */
    internal var session = Session(work = work.resume())
        private set

    // --- the loop ---------------------------------------------------------------------------------------------

    /**
     * Takes part until done or stopped; the work at hand is kept either way.
     *
     * @throws ExpelledException when the gateway refuses this device for good.
     */
    fun run() {
        link.start()
        try {
            while (!finished()) turn()
        } finally {
            work.save()
            fetcher.save()
            link.stop(Bye.newBuilder().setWireVersion(WIRE_VERSION).setDevice(identity.device).build().toByteArray())
            board.change { copy(link = LinkState.OFFLINE, doing = Doing.IDLE, hindrances = emptySet()) }
        }
        if (membership.expelled.isNotEmpty()) throw ExpelledException(membership.expelled)
    }

    /** Whether there is nothing left to do: expelled, stopped, enough rounds, or the gateway is done and its end is here. */
    internal fun finished(): Boolean {
        if (membership.expelled.isNotEmpty() || stopped() || Hindrance.TIME_IS_UP in against) return true
        if (session.work == WorkState.TRAINING || session.work == WorkState.UPLOADING) return false
        if (options.rounds > 0 && delivery.settled >= options.rounds) return true
        val state = membership.gateway ?: return false
        val newest = versions.newest ?: return false
        return state.finished && newest.version == state.version && versions.missing(newest).isEmpty()
    }

    /** Handles what came, fires what is due, makes one training step if there is one to make. */
    internal fun turn() {
        lookAround()
        var event = next(if (atWork && against.isEmpty()) 0.0 else timers.pause(clock.pauseSeconds))
        while (event != null) {
            handle(event)
            event = if (membership.expelled.isNotEmpty() || stopped()) null else next(0.0)
        }
        timers.takeDue().forEach(::due)
        if (session.work == WorkState.WAITING && (session.member || work.resumed) && work.ready) apply(Event.READY)
        when {
            atWork && against.isEmpty() -> trainStep()
            session.work == WorkState.TRAINING && !atWork -> mask()
        }
        tell()
    }

    /** Whether there is a training step to make: what waits for its masks is trained. */
    private val atWork get() = session.work == WorkState.TRAINING && work.unmasked == null

    /** Asks the gate; when it closes, progress is kept at once: the app may end soon. */
    private fun lookAround() {
        val before = against
        against = options.gate?.check().orEmpty()
        if (before.isEmpty() && against.isNotEmpty()) work.save()
        if (Hindrance.METERED in before && Hindrance.METERED !in against) sendWhatWaited()
    }

    private fun sendWhatWaited() {
        if (!session.member) return
        fetch()
        masks.offerAgain()
        if (session.work == WorkState.UPLOADING) apply(Event.RESEND_DUE)
    }

    private fun next(waitSeconds: Double): LinkEvent? =
        if (waitSeconds <= 0) inbox.poll() else inbox.poll((waitSeconds * 1000).toLong(), TimeUnit.MILLISECONDS)

    private fun apply(event: Event) {
        val (after, actions) = try {
            session.after(event)
        } catch (_: SessionException) {
            return // a message that came late; nothing is changed
        }
        session = after
        for (action in actions) {
            when (action) {
                Action.HELLO -> membership.sendHello()
                Action.TRAIN -> begin()
                Action.ABANDON -> work.abandon()
                Action.OFFER -> delivery.offerPending()
                Action.FETCH -> fetch(again = true)
            }
        }
    }

    private fun tell() = board.change {
        copy(
            doing = if (!atWork) Doing.IDLE else if (against.isEmpty()) Doing.TRAINING else Doing.PAUSED,
            hindrances = if (atWork) against else emptySet(),
            link = session.link,
            work = session.work,
            roundsPlanned = membership.gateway?.roundsPlanned ?: roundsPlanned,
            bytesUp = this@Device.link.bytesUp,
            bytesDown = this@Device.link.bytesDown,
        )
    }

    // --- timers -----------------------------------------------------------------------------------------------

    private fun due(name: Due) {
        when {
            name == Due.RELEASE -> fetcher.release()
            name == Due.PIECES -> fetcher.save()
            link.busy -> timers.again(name, FIRST_RESEND_S) // a slow link is not helped by more
            name == Due.HELLO && session.link == LinkState.GREETING -> apply(Event.HELLO_DUE)
            name == Due.RESEND && session.work == WorkState.UPLOADING -> apply(Event.RESEND_DUE)
            name == Due.SENT && session.member -> delivery.offerSent()
            name == Due.MASKS && session.member -> masks.offerAgain()
            name == Due.STATISTICS && session.member -> membership.offerStatistics()
            name == Due.WANT && session.member -> {
                if (fetcher.againSeconds <= 0) versions.unanswered() // else it was told to ask again
                fetch(again = true)
            }
        }
    }

    // --- what came --------------------------------------------------------------------------------------------

    private fun handle(event: LinkEvent) {
        when (event) {
            is LinkEvent.Up -> {
                membership.forgetGreeting()
                board.notice("")
                apply(Event.LINK_UP)
            }
            is LinkEvent.Down -> {
                if (event.first) board.notice("no broker: ${event.reason}; trying again, at most a minute apart")
                timers.stopAll()
                fetcher.save()
                apply(Event.LINK_DOWN)
            }
            is LinkEvent.Arrived -> arrived(event)
            is LinkEvent.Woken -> Unit // the next turn asks the gate, and whether to stop
        }
    }

    private fun arrived(event: LinkEvent.Arrived) {
        try {
            trust.check(event.address, event.payload)
            when (event.address.topic) {
                Topic.GATEWAY -> onGateway(event.payload)
                Topic.VERSION -> onVersion(event.payload)
                Topic.PLAN -> onPlan(event.payload)
                Topic.VERDICT -> onVerdict(event.payload)
                Topic.BLOB -> onBlob(event.address.name, event.payload)
                Topic.SECURE -> onSecure(event.payload)
                else -> Unit // what other devices say
            }
        } catch (error: WireException) {
            board.notice("ignored a message on ${event.address.topic.word}: ${error.message}")
        }
    }

    private fun onGateway(payload: ByteArray) {
        membership.takeState(payload)?.let(::apply)
    }

    private fun onVersion(payload: ByteArray) {
        if (payload.isEmpty()) return
        val round = versions.announce(payload).round
        work.letGo(round)
        work.masks.letGo(round)
        fetch()
    }

    private fun onPlan(payload: ByteArray) {
        if (payload.isEmpty()) {
            if (!work.masksDelivered) masks.drop() // after its delta, a round under masks still asks for the answer
            work.withdraw()
            return apply(Event.WITHDRAWN)
        }
        val plan = work.take(payload) ?: return
        masks.begin(plan, payload)
        apply(Event.PLAN)
        fetch()
    }

    private fun onSecure(payload: ByteArray) {
        masks.take(payload)
        fetch()
    }

    /** Drops the plan whose round under masks is over for this device. */
    private fun masksOver() {
        if (session.work == WorkState.WAITING) work.refuse() else if (session.work != WorkState.TRAINING) return
        apply(Event.FAILED)
        takeNext()
    }

    private fun onBlob(name: String, payload: ByteArray) {
        if (!fetcher.take(name, payload)) return
        timers.stop(Due.WANT)
        timers.again(Due.WANT, fetcher.againSeconds)
        if (fetcher.partial && !timers.running(Due.PIECES)) timers.again(Due.PIECES, PIECES_S)
        if (fetcher.listens && !timers.running(Due.RELEASE)) timers.again(Due.RELEASE, RELEASE_S)
        fetch()
    }

    private val metered get() = Hindrance.METERED in against

    /** Asks for what is missing, [again] also for what was asked before; notes when the newest version became complete. */
    private fun fetch(again: Boolean = false) {
        masks.advance(session.member)
        val others = work.wantedVersions
        val wanted = work.masks.wanted() + fetcher.wanted(others)
        if (wanted.isEmpty()) timers.stop(Due.WANT)
        if (adopt(others)) {
            board.change { copy(version = versions.latest().first, personal = false) }
        }
        if (!session.member) return
        if (metered && wanted.isNotEmpty()) timers.later(Due.WANT) else if (fetcher.ask(wanted, again)) timers.again(Due.WANT)
    }

    private fun adopt(others: List<ByteArray>): Boolean = try {
        versions.adoptNewest(others)
    } catch (error: BankException) {
        board.notice("${error.message}; the version before stays")
        false
    }

    private fun onVerdict(payload: ByteArray) {
        val verdict = MessageKind.VERDICT.decode(payload)
        val digest = verdict.digest.toByteArray()
        val handle: (Verdict) -> Unit = when {
            membership.onHello(verdict) -> ::onHelloVerdict
            verdict.kind == Kind.HELLO && digest.contentEquals(fetcher.wantDigest) -> ::onWantVerdict
            membership.onStatistics(verdict) -> membership::takeStatisticsVerdict
            masks.onSent(verdict) -> masks::takeVerdict
            verdict.kind == Kind.DELTA && digest.contentEquals(work.pending?.digest) -> ::onDeltaVerdict
            verdict.kind == Kind.DELTA && digest.contentEquals(work.sent?.digest) -> delivery::takeSentVerdict
            else -> return // about something that was decided already, or sent before a restart
        }
        val follows = membership.takeVerdict(verdict)
        if (verdict.kind == Kind.DELTA && verdict.code != Code.INCOMPLETE) delivery.stop(digest)
        if (follows != null) apply(follows) else handle(verdict)
    }

    private fun onHelloVerdict(verdict: Verdict) {
        if (session.link != LinkState.GREETING) return
        val follows = membership.takeHelloVerdict(verdict) ?: return
        masks.forget() // a gateway that meets this device is offered it anew
        apply(follows)
        if (verdict.wantStatistics) membership.offerStatistics()
    }

    /** What the gateway published before this verdict is here now, or will not come: asks for the rest. */
    private fun onWantVerdict(verdict: Verdict) {
        if (verdict.retryAfterS <= 0) return
        fetcher.againSeconds = verdict.retryAfterS.toDouble()
        timers.stop(Due.WANT)
        timers.again(Due.WANT, fetcher.againSeconds)
    }

    private fun onDeltaVerdict(verdict: Verdict) {
        apply(delivery.takePendingVerdict(verdict) ?: return)
        takeNext()
    }

    /** After one plan, the newest that came meanwhile. */
    private fun takeNext() {
        if (work.waiting != null && session.work == WorkState.IDLE) apply(Event.PLAN)
    }

    // --- what to do -------------------------------------------------------------------------------------------

    private fun begin() {
        val training = try {
            work.begin()
        } catch (error: PlanException) {
            return giveUp(error.message.orEmpty())
        } catch (error: BankException) {
            return giveUp(error.message.orEmpty())
        }
        if (training == null) return apply(Event.DAMAGED)
        savedAt = clock.seconds()
        spentMs = 0.0
        board.change { beginning(training.trainer, training.plan.steps).copy(round = training.plan.round) }
    }

    private fun giveUp(reason: String) {
        board.notice(reason)
        apply(Event.FAILED)
        takeNext()
    }

    private fun trainStep() {
        val training = work.training ?: return
        val trainer = training.trainer
        val limit = identity.budget.roundSeconds
        if (trainer.done || (limit > 0 && trainer.steps > 0 && spentMs / 1000 >= limit)) return finishRound(training)
        if (work.adapt().isNotEmpty()) board.change { placed(trainer) }
        trainer.step()
        spentMs += trainer.lastMs
        board.change { after(trainer) }
        if (clock.seconds() - savedAt >= options.checkpointSeconds) {
            work.save()
            savedAt = clock.seconds()
        }
    }

    private fun finishRound(training: Training) {
        try {
            work.finish()
        } catch (error: WireException) {
            return giveUp("round ${training.plan.round}: training diverged, nothing is sent (${error.detail})")
        }
        if (work.pending != null) apply(Event.TRAINED) else mask()
    }

    /** Puts what was trained under masks, once it is known who dealt. */
    private fun mask() {
        val unmasked = work.unmasked ?: return
        val round = "round ${unmasked.origin.round}"
        if (work.masks.planDigest != unmasked.planDigest) {
            return giveUp("$round: the round under masks is over before this device was done")
        }
        if (!work.masks.ready) return
        try {
            work.mask()
        } catch (error: SecureException) {
            return giveUp("$round: nothing is sent (${error.message})")
        } catch (error: WireException) {
            return giveUp("$round: nothing is sent (${error.message})")
        }
        apply(Event.TRAINED)
    }
}
