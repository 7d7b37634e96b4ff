package org.edgeexperts.core

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class SessionTest {
    /** What Python does in a state at an event, in its words; null where the event has no place. */
    private fun outcome(session: Session, event: Event): List<Any?>? = try {
        val (after, actions) = session.after(event)
        listOf(after.link.word, after.work.word, actions.map(Action::word))
    } catch (_: SessionException) {
        null
    }

    /** 6 states of the link, 4 of the work, 17 events: every one of the 408 has the same outcome in both languages. */
    @Test
    fun everyEventHasPythonsOutcome() {
        val theirs = askPython("session_table.py").items.map { it.items }.associate { it.take(3) to it[3] }
        val ours = LinkState.values().flatMap { link ->
            WorkState.values().flatMap { work ->
                Event.values().map { event ->
                    listOf<Any?>(link.word, work.word, event.word) to outcome(Session(link, work), event)
                }
            }
        }.toMap()
        assertEquals(6 * 4 * 17, theirs.size)
        assertEquals<Map<List<Any?>, Any?>>(theirs, ours)
    }

    /** A round without trouble: greet, fetch, take a plan, train, send. */
    @Test
    fun aRoundGoesThrough() {
        var session = Session()
        val actions = listOf(
            Event.LINK_UP, Event.GATEWAY, Event.WELCOME, Event.PLAN, Event.READY, Event.TRAINED, Event.SETTLED,
        ).flatMap { event -> session.after(event).also { session = it.first }.second }
        assertEquals(listOf(Action.HELLO, Action.FETCH, Action.TRAIN, Action.OFFER), actions)
        assertEquals(Session(LinkState.MEMBER, WorkState.IDLE), session)
    }

    /** The refusal names state and event. */
    @Test
    fun anEventWithoutPlaceIsRefused() {
        val error = assertFailsWith<SessionException> { Session().after(Event.READY) }
        assertEquals("event 'ready' has no place while offline and idle", error.message)
    }
}
