package org.edgeexperts.core

import java.util.ArrayDeque
import java.util.concurrent.TimeUnit
import java.util.concurrent.locks.ReentrantLock
import kotlin.concurrent.thread
import kotlin.concurrent.withLock

/**
 * What one connection still has to send: a thread that publishes while fewer than WINDOW messages are under way. The
 * rest stays a sequence, so that a slow link costs no memory.
 *
 * @param publish hands one message to the broker; false ends the outbox.
 */
internal class Outbox(private val publish: (topic: String, payload: ByteArray) -> Boolean) {
    private val queue = ArrayDeque<Pair<String, Iterator<ByteArray>>>()
    private val lock = ReentrantLock()
    private val changed = lock.newCondition()
    private var underWay = 0
    private var closed = false

    init {
        thread(name = "outbox", isDaemon = true) { work() }
    }

    /** Whether something is queued or not yet acknowledged by the broker. */
    val busy: Boolean get() = lock.withLock { queue.isNotEmpty() || underWay > 0 }

    fun put(topic: String, payloads: Sequence<ByteArray>) = lock.withLock {
        queue.add(topic to payloads.iterator())
        changed.signalAll()
    }

    /** Notes that the broker took one. */
    fun acknowledged() = lock.withLock {
        underWay--
        changed.signalAll()
    }

    /** Drops what is queued. */
    fun close() = lock.withLock {
        closed = true
        queue.clear()
        changed.signalAll()
    }

    /** Waits until everything was acknowledged; returns whether it was. */
    fun waitEmpty(seconds: Double): Boolean = lock.withLock {
        var left = TimeUnit.MILLISECONDS.toNanos((seconds * 1000).toLong())
        while (!closed && (queue.isNotEmpty() || underWay > 0)) {
            if (left <= 0) return false
            left = changed.awaitNanos(left)
        }
        !closed
    }

    private fun work() {
        while (true) {
            val (topic, payload) = next() ?: return
            if (!publish(topic, payload)) return close()
        }
    }

    /** Returns the next message when there is room for it; null when closed. */
    private fun next(): Pair<String, ByteArray>? = lock.withLock {
        while (!closed) {
            val head = if (underWay < WINDOW) queue.peek() else null
            when {
                head == null -> changed.await()
                head.second.hasNext() -> {
                    underWay++
                    return head.first to head.second.next()
                }
                else -> {
                    queue.poll()
                    changed.signalAll()
                }
            }
        }
        return null
    }

    companion object {
        /** Messages under way at once. */
        const val WINDOW = 8
    }
}
