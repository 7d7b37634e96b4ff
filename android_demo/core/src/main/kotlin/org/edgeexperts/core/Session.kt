/**
 * What a device does next, as two tables without I/O, clock or chance; the tables are those of edge_runtime/federation/session.py.
 *
 * [LinkState] is where the device stands with the gateway, [WorkState] what it does for the present plan; the two are
 * independent, so training goes on while the link is down. Events come in, a new session and the actions to take come
 * out. A pair that neither table has raises and changes nothing. The messages behind: edge_runtime/wire/SPEC.md.
 */
package org.edgeexperts.core

/** Where the device stands with the gateway. [word] is for people, and the same in Python. */
public enum class LinkState(public val word: String) {
    /** No broker. */
    OFFLINE("offline"),

    /** A broker, no gateway. */
    LISTENING("listening"),

    /** Said hello, waits for the verdict. */
    GREETING("greeting"),
    MEMBER("member"),

    /** The gateway serves another federation: silent. */
    STRANGER("stranger"),

    /** Removed by the operator, or the gateway cannot talk to this software: the end. */
    EXPELLED("expelled"),
}

/** What the device does for a plan. */
public enum class WorkState(public val word: String) {
    IDLE("idle"),

    /** Has a plan, lacks its version or membership. */
    WAITING("waiting"),
    TRAINING("training"),

    /** Keeps a delta until its verdict. */
    UPLOADING("uploading"),
}

/** What happened. */
public enum class Event(public val word: String) {
    LINK_UP("link up"),
    LINK_DOWN("link down"),

    /** Online, our federation, a session that we did not greet yet. */
    GATEWAY("gateway"),
    GATEWAY_GONE("gateway gone"),

    /** Online, another federation. */
    FOREIGN("foreign"),

    /** Hello accepted. */
    WELCOME("welcome"),

    /** The gateway does not know us: hello again. */
    UNKNOWN("unknown"),
    EXPEL("expel"),

    /** No verdict for the hello in time. */
    HELLO_DUE("hello due"),

    /** A plan that is neither done nor the present one. */
    PLAN("plan"),
    WITHDRAWN("withdrawn"),

    /** A member, and the plan's version is complete. */
    READY("ready"),

    /** A block of the plan's version is not what was stored. */
    DAMAGED("damaged"),
    TRAINED("trained"),

    /** The plan cannot be carried out here. */
    FAILED("failed"),
    RESEND_DUE("resend due"),

    /** A final verdict on the delta. */
    SETTLED("settled"),
}

/** What to do. */
public enum class Action(public val word: String) {
    HELLO("hello"),
    TRAIN("train"),

    /** Stop training, drop its checkpoint. */
    ABANDON("abandon"),

    /** Offer the delta; the gateway says which of its chunks lack. */
    OFFER("offer"),

    /** Ask for every block that is missing, those asked for before as well. */
    FETCH("fetch"),
}

private class Next<S>(val state: S, vararg val actions: Action)

private val CONNECTED = listOf(LinkState.LISTENING, LinkState.GREETING, LinkState.MEMBER, LinkState.STRANGER)

private val LINK: Map<Pair<LinkState, Event>, Next<LinkState>> = mapOf(
    (LinkState.OFFLINE to Event.LINK_UP) to Next(LinkState.LISTENING),
    (LinkState.LISTENING to Event.GATEWAY) to Next(LinkState.GREETING, Action.HELLO),
    (LinkState.GREETING to Event.GATEWAY) to Next(LinkState.GREETING, Action.HELLO),
    (LinkState.MEMBER to Event.GATEWAY) to Next(LinkState.GREETING, Action.HELLO),
    (LinkState.STRANGER to Event.GATEWAY) to Next(LinkState.GREETING, Action.HELLO),
    (LinkState.GREETING to Event.HELLO_DUE) to Next(LinkState.GREETING, Action.HELLO),
    (LinkState.GREETING to Event.WELCOME) to Next(LinkState.MEMBER, Action.FETCH), // it remembers no earlier Want
    (LinkState.GREETING to Event.UNKNOWN) to Next(LinkState.GREETING),
    (LinkState.MEMBER to Event.UNKNOWN) to Next(LinkState.GREETING, Action.HELLO),
    (LinkState.GREETING to Event.EXPEL) to Next(LinkState.EXPELLED),
    (LinkState.MEMBER to Event.EXPEL) to Next(LinkState.EXPELLED),
) + (CONNECTED + LinkState.OFFLINE).associate { (it to Event.LINK_DOWN) to Next(LinkState.OFFLINE) } +
    CONNECTED.associate { (it to Event.GATEWAY_GONE) to Next(LinkState.LISTENING) } +
    CONNECTED.associate { (it to Event.FOREIGN) to Next(LinkState.STRANGER) }

private val WORK: Map<Pair<WorkState, Event>, Next<WorkState>> = mapOf(
    (WorkState.IDLE to Event.PLAN) to Next(WorkState.WAITING),
    (WorkState.IDLE to Event.WITHDRAWN) to Next(WorkState.IDLE),
    (WorkState.WAITING to Event.PLAN) to Next(WorkState.WAITING),
    (WorkState.WAITING to Event.WITHDRAWN) to Next(WorkState.IDLE),
    (WorkState.WAITING to Event.READY) to Next(WorkState.TRAINING, Action.TRAIN),
    (WorkState.WAITING to Event.FAILED) to Next(WorkState.IDLE),
    (WorkState.TRAINING to Event.PLAN) to Next(WorkState.TRAINING), // finish first: a late delta still counts
    (WorkState.TRAINING to Event.WITHDRAWN) to Next(WorkState.IDLE, Action.ABANDON),
    (WorkState.TRAINING to Event.TRAINED) to Next(WorkState.UPLOADING, Action.OFFER),
    (WorkState.TRAINING to Event.DAMAGED) to Next(WorkState.WAITING, Action.FETCH),
    (WorkState.TRAINING to Event.FAILED) to Next(WorkState.IDLE, Action.ABANDON),
    (WorkState.UPLOADING to Event.PLAN) to Next(WorkState.UPLOADING, Action.OFFER), // its verdict was lost
    (WorkState.UPLOADING to Event.WITHDRAWN) to Next(WorkState.UPLOADING),
    (WorkState.UPLOADING to Event.RESEND_DUE) to Next(WorkState.UPLOADING, Action.OFFER),
    (WorkState.UPLOADING to Event.WELCOME) to Next(WorkState.UPLOADING, Action.OFFER),
    (WorkState.UPLOADING to Event.SETTLED) to Next(WorkState.IDLE),
)

/** Where a device stands; starts offline, with the work that its store remembers. */
public data class Session(
    public val link: LinkState = LinkState.OFFLINE,
    public val work: WorkState = WorkState.IDLE,
) {
    /** Whether the gateway knows this device. */
    public val member: Boolean get() = link == LinkState.MEMBER

    /**
     * Returns the session after [event] and what to do, in order.
     *
     * A delta is offered to a gateway that knows the device only: before, OFFER is left out, and WELCOME offers it.
     *
     * @throws SessionException when neither table has a place for the event; nothing is changed.
     */
    public fun after(event: Event): Pair<Session, List<Action>> {
        val (nextLink, nextWork) = LINK[link to event] to WORK[work to event]
        if (nextLink == null && nextWork == null) {
            throw SessionException("event '${event.word}' has no place while ${link.word} and ${work.word}")
        }
        val after = Session(nextLink?.state ?: link, nextWork?.state ?: work)
        val actions = nextLink?.actions.orEmpty().toList() + nextWork?.actions.orEmpty()
        return after to actions.filter { after.member || it != Action.OFFER }
    }
}
