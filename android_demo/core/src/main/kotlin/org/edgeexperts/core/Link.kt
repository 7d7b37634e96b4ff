/** The way to the broker as a device sees it: what comes from it, what can be asked of it. */
package org.edgeexperts.core

import org.edgeexperts.wire.Address
import org.edgeexperts.wire.Topic
import kotlin.math.min
import kotlin.math.pow

/** What a link tells. */
public sealed interface LinkEvent {
    /** Connected and listening. */
    public object Up : LinkEvent

    /**
     * The connection went, or cannot be made.
     *
     * @property reason for people.
     * @property againSeconds until the next try.
     * @property first of several in a row that no connection came between.
     */
    public class Down(
        public val reason: String,
        public val againSeconds: Double,
        public val first: Boolean,
    ) : LinkEvent

    /**
     * A message.
     *
     * @property address of its topic.
     * @property payload its bytes; not decoded yet.
     */
    public class Arrived(public val address: Address, public val payload: ByteArray) : LinkEvent

    /** Nothing came: whoever waits looks anew at what it waits for. */
    public object Woken : LinkEvent
}

/** A way to the broker; [MqttLink] is the real one. */
public interface Link {
    /** Bytes of MQTT payloads that went out since the start. */
    public val bytesUp: Long

    /** Bytes of MQTT payloads that came in since the start. */
    public val bytesDown: Long

    /** Whether something is queued or not yet acknowledged by the broker. */
    public val busy: Boolean

    /** Begins to connect; events come from now on. */
    public fun start()

    /**
     * Queues messages on this device's [topic]; without a connection they are dropped, since whoever needs them sends
     * them again.
     */
    public fun send(topic: Topic, payloads: Sequence<ByteArray>)

    /** Listens on the topics of [blobs] (hex digests) and, once the broker confirmed, asks for them. */
    public fun request(blobs: List<String>, want: ByteArray)

    /** Stops listening on the topics of [blobs]. */
    public fun release(blobs: Set<String>)

    /** Listens on a further [topic] of this device from now on, over lost connections too; twice does nothing. */
    public fun listen(topic: Topic)

    /** Says [bye] after what is queued, and closes. Waits a few seconds at most; then the will says it. */
    public fun stop(bye: ByteArray)
}

/**
 * Returns seconds to wait before try number [tries] + 1: doubling up to [lastSeconds], half of it by [chance].
 *
 * [chance] is in [0, 1). So a thousand devices that lost one broker do not come back in the same second.
 */
public fun backoff(tries: Int, firstSeconds: Double, lastSeconds: Double, chance: Double): Double =
    min(lastSeconds, firstSeconds * 2.0.pow(min(tries, 30))) * (0.5 + 0.5 * chance)
