package org.edgeexperts.core

import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** Waits that are told. A wait that is not would last longer than [LIMIT_S], and fails. */
class TurnTest {
    private fun ends(body: () -> Unit): Thread = thread(isDaemon = true, block = body)

    private fun Thread.awaitEnd() {
        join(TimeUnit.SECONDS.toMillis(LIMIT_S))
        assertFalse(isAlive, "it still waits")
    }

    /** Who comes meanwhile hears what the device does; after the end the next has the turn. */
    @Test
    fun oneThingAtATime() {
        val turn = Turn()
        turn.take("trains")
        assertEquals("this device trains at the moment; stop that first", assertFailsWith<ConfigException> { turn.take("forgets") }.message)
        turn.give()
        turn.take("forgets")
    }

    /** Closing ends when the turn does, and refuses the next; a second close has nothing to do. */
    @Test
    fun closingWaitsForTheEnd() {
        val turn = Turn()
        turn.take("trains")
        val refused = CountDownLatch(1)
        val closer = ends {
            assertTrue(turn.close())
            refused.countDown()
            turn.awaitEnd()
        }
        assertTrue(refused.await(LIMIT_S, TimeUnit.SECONDS))
        assertTrue(turn.closing && closer.isAlive)
        turn.give()
        closer.awaitEnd()
        assertFalse(turn.close())
        assertEquals("this device is closed; open it again", assertFailsWith<ConfigException> { turn.take("trains") }.message)
    }

    /** Told in a pause or before it, however often: it ends, and the next one is a pause again. */
    @Test
    fun aPauseEndsWhenItIsTold() {
        val pause = Pause(LONG_S)
        val waiting = ends(pause::await)
        pause.end()
        waiting.awaitEnd()
        repeat(3) { pause.end() }
        ends(pause::await).awaitEnd()
        val next = ends(pause::await)
        next.join(50)
        assertTrue(next.isAlive)
        pause.end()
        next.awaitEnd()
    }

    /** A pause that nobody tells anything ends by itself. */
    @Test
    fun aPauseEnds() = ends(Pause(0.01)::await).awaitEnd()

    /** A full inbox holds the link; room lets it go on, and so does the device's end. */
    @Test
    fun aFullInboxHoldsTheLink() {
        val inbox = Inbox(1)
        inbox.put(LinkEvent.Up)
        inbox.wake() // there is what to read
        val link = ends { repeat(2) { inbox.put(LinkEvent.Up) } }
        assertEquals(LinkEvent.Up, inbox.queue.take())
        assertEquals(LinkEvent.Up, inbox.queue.poll(LIMIT_S, TimeUnit.SECONDS))
        link.awaitEnd()
        val late = ends { repeat(100) { inbox.put(LinkEvent.Up) } }
        inbox.close()
        late.awaitEnd()
    }

    /** A device that waits for events is woken by one that says nothing. */
    @Test
    fun aWaitingDeviceIsWoken() {
        val inbox = Inbox(1)
        inbox.wake()
        assertEquals(LinkEvent.Woken, inbox.queue.poll(LIMIT_S, TimeUnit.SECONDS))
        assertNull(inbox.queue.poll())
    }

    private companion object {
        const val LIMIT_S = 20L
        const val LONG_S = 3600.0
    }
}
