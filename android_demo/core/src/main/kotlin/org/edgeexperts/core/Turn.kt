/** One thing at a time on a device, and pauses in it: whoever waits is told, nobody looks again and again. */
package org.edgeexperts.core

import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.withLock

/** The turn at a device: one thread has it, others are refused. */
internal class Turn {
    private val lock = ReentrantLock()
    private val ended = lock.newCondition()
    private var busy: String? = null

    /** Whether nobody gets a turn any more, and whoever has one is to end it. */
    @Volatile
    var closing = false
        private set

    /**
     * Takes the turn.
     *
     * @param what the device does in it, as a refusal says it: "trains".
     * @throws ConfigException when somebody has it, or the device is closed.
     */
    fun take(what: String) = lock.withLock {
        if (closing) throw ConfigException("this device is closed; open it again")
        busy?.let { throw ConfigException("this device $it at the moment; stop that first") }
        busy = what
    }

    /** Gives it back. */
    fun give() = lock.withLock {
        busy = null
        ended.signalAll()
    }

    /** Refuses whoever comes from now on; false when that was said before. */
    fun close(): Boolean = lock.withLock { !closing.also { closing = true } }

    /** Waits until nobody has the turn. */
    fun awaitEnd() = lock.withLock {
        while (busy != null) ended.await()
    }
}

/**
 * A pause that ends when something changed.
 *
 * @param seconds after which it ends in any case: nobody tells of heat and free storage.
 */
internal class Pause(private val seconds: Double = Gate.READ_EVERY_S) {
    private val changes = Semaphore(0)

    /** Waits for the next [end], or one since the last [await]. */
    fun await() {
        changes.tryAcquire((seconds * MILLIS).toLong(), TimeUnit.MILLISECONDS)
        changes.drainPermits()
    }

    /** Ends the pause at hand, or the next one. */
    fun end() = changes.release()

    private companion object {
        const val MILLIS = 1000
    }
}

/**
 * What a link told and its device has not read yet. Full, it holds the link back, and so the broker.
 *
 * @param size events that wait here.
 */
internal class Inbox(size: Int) {
    @Volatile
    private var closed = false

    /** For the device, which takes events out. */
    val queue = LinkedBlockingQueue<LinkEvent>(size)

    /** Adds an event; waits while there is no room, and drops it once the device has ended. */
    fun put(event: LinkEvent) {
        if (!closed) queue.put(event)
    }

    /** Ends the wait of a device that reads. */
    fun wake() {
        queue.offer(LinkEvent.Woken) // a full one has what to read
    }

    /** Nobody reads any more: whoever waits for room goes on. */
    fun close() {
        closed = true
        queue.clear()
    }
}
