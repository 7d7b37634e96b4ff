/**
 * The broker, behind a small interface: events in, payloads out. The only file that uses the MQTT client.
 *
 * Every connection is a new client with nothing left over: what must arrive is sent again by whoever needs it to, which
 * the protocol asks for anyway (a verdict, not a PUBACK, says that something arrived). MQTT 3.1.1, which the embedded
 * broker speaks and every other does too.
 */
package org.edgeexperts.core

import org.eclipse.paho.client.mqttv3.IMqttActionListener
import org.eclipse.paho.client.mqttv3.IMqttDeliveryToken
import org.eclipse.paho.client.mqttv3.IMqttToken
import org.eclipse.paho.client.mqttv3.MqttAsyncClient
import org.eclipse.paho.client.mqttv3.MqttCallback
import org.eclipse.paho.client.mqttv3.MqttConnectOptions
import org.eclipse.paho.client.mqttv3.MqttException
import org.eclipse.paho.client.mqttv3.MqttMessage
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence
import org.edgeexperts.wire.Address
import org.edgeexperts.wire.QOS
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.deviceSubscriptions
import java.util.concurrent.CopyOnWriteArraySet
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicLong
import kotlin.concurrent.thread

private const val KEEPALIVE_S = 60
private const val CONNECT_S = 10
private const val LEAVE_S = 5.0
private const val FIRST_RETRY_S = 1.0
private const val LAST_RETRY_S = 60.0
private const val STEADY_S = 10.0 // a connection that held so long was a good one: the next try comes soon again

// So many that ended at once in a row look like two clients with one name, each of which ends the other's.
private const val SHORT_CONNECTIONS = 8

/**
 * A link over Eclipse Paho.
 *
 * @param broker where to.
 * @param federation whose topics.
 * @param device this device.
 * @param will payload of Bye, which the broker sends when the device vanishes.
 * @param chance numbers in [0, 1) that spread the tries of many devices.
 * @param post takes events; called from the client's threads. While it blocks nothing is read from the broker.
 * @throws ConfigException when the broker's certificates cannot be used.
 * @throws WireException MALFORMED for a name that may not stand in a topic.
 */
public class MqttLink(
    private val broker: Broker,
    private val federation: String,
    private val device: String,
    private val will: ByteArray,
    private val chance: () -> Double = Math::random,
    private val post: (LinkEvent) -> Unit,
) : Link {
    private val listened = deviceSubscriptions(federation, device).toTypedArray()
    private val further = CopyOnWriteArraySet<Topic>()
    private val sockets = if (broker.url.tls) socketFactory(broker.identity) else null
    private val up = AtomicLong()
    private val down = AtomicLong()
    private val stopping = CountDownLatch(1)
    private val supervisor = thread(start = false, isDaemon = true, name = "broker") { supervise() }

    @Volatile
    private var connection: Connection? = null

    override val bytesUp: Long get() = up.get()

    override val bytesDown: Long get() = down.get()

    override val busy: Boolean get() = connection?.outbox?.busy ?: false

    override fun start(): Unit = supervisor.start()

    override fun send(topic: Topic, payloads: Sequence<ByteArray>) {
        connection?.outbox?.put(Address(federation, topic, device).toString(), payloads)
    }

    override fun request(blobs: List<String>, want: ByteArray) {
        connection?.subscribe(blobs.map { Address(federation, Topic.BLOB, it).toString() }.toTypedArray()) {
            send(Topic.WANT, sequenceOf(want))
        }
    }

    override fun release(blobs: Set<String>) {
        connection?.unsubscribe(blobs.map { Address(federation, Topic.BLOB, it).toString() }.toTypedArray())
    }

    override fun listen(topic: Topic) {
        if (further.add(topic)) connection?.subscribe(arrayOf(Address(federation, topic, device).toString()))
    }

    override fun stop(bye: ByteArray) {
        stopping.countDown()
        connection?.leave(Address(federation, Topic.BYE, device).toString(), bye)
        if (supervisor.isAlive) supervisor.join(TimeUnit.SECONDS.toMillis(LEAVE_S.toLong()))
    }

    private fun supervise() {
        var (tries, short) = 0 to 0
        var told = false
        while (!stopped()) {
            val began = System.nanoTime()
            val attempt = Connection()
            val wasOpen = attempt.hold()
            if (stopped()) return
            var reason = attempt.reason
            if (wasOpen) {
                val steady = System.nanoTime() - began >= TimeUnit.SECONDS.toNanos(STEADY_S.toLong())
                short = if (steady) 0 else short + 1
                tries = if (short <= SHORT_CONNECTIONS) 0 else 2 // the broker is there: soon, not in a tight circle
                if (short > SHORT_CONNECTIONS) reason += "; does another process use the device id $device?"
            }
            val wait = backoff(tries, FIRST_RETRY_S, LAST_RETRY_S, chance())
            post(LinkEvent.Down(reason, wait, wasOpen || !told))
            told = true
            tries++
            stopping.await((wait * 1000).toLong(), TimeUnit.MILLISECONDS)
        }
    }

    private fun stopped() = stopping.count == 0L

    /** One connection, from its first byte to its last. */
    private inner class Connection : MqttCallback {
        private val client = MqttAsyncClient(url(), "$federation.$device", MemoryPersistence())
        private val answered = CountDownLatch(1) // connected, refused, or lost
        private val gone = CountDownLatch(1)

        @Volatile
        private var open = false
        private var over = false // guarded by this: an answer that comes late finds nobody

        @Volatile
        var reason = "the broker closed the connection"
        val outbox = Outbox(::publish)

        /** What the client calls a broker's URL; a WebSocket's path is its own default, /mqtt. */
        private fun url(): String = with(broker.url) {
            val scheme = if (websocket) (if (tls) "wss" else "ws") else if (tls) "ssl" else "tcp"
            "$scheme://$address" + if (websocket) "/mqtt" else ""
        }

        /** Holds the connection until it ends; returns whether it was made. */
        fun hold(): Boolean {
            try {
                client.setCallback(this)
                client.connect(options(), null, listener(::connected, ::refused))
                // Not its own token: the client forgets it when the connection ends at once.
                if (!answered.await(CONNECT_S + 1L, TimeUnit.SECONDS)) reason = "no answer in $CONNECT_S s"
                if (open) gone.await()
            } catch (error: MqttException) {
                refused(error)
            } finally {
                synchronized(this) { over = true }
                connection = null
                outbox.close()
                cut()
            }
            return open
        }

        private fun connected() {
            synchronized(this) {
                if (over) return
                open = true
                connection = this
            }
            post(LinkEvent.Up) // before the subscriptions, and so before what they bring
            subscribe(listened, failed = ::ended)
            further.forEach { subscribe(arrayOf(Address(federation, it, device).toString())) }
            answered.countDown()
        }

        private fun refused(error: Throwable?) {
            reason = error?.cause?.message ?: error?.message ?: "the broker refused"
            answered.countDown()
        }

        private fun listener(success: () -> Unit, failure: (Throwable?) -> Unit) = object : IMqttActionListener {
            override fun onSuccess(token: IMqttToken) = success()

            override fun onFailure(token: IMqttToken, error: Throwable?) = failure(error)
        }

        private fun options() = MqttConnectOptions().apply {
            mqttVersion = MqttConnectOptions.MQTT_VERSION_3_1_1
            isCleanSession = true
            isAutomaticReconnect = false
            keepAliveInterval = KEEPALIVE_S
            connectionTimeout = CONNECT_S
            maxInflight = 2 * Outbox.WINDOW // requests count too
            setWill(Address(federation, Topic.BYE, device).toString(), will, QOS, false)
            if (broker.url.user.isNotEmpty()) {
                userName = broker.url.user
                password = broker.url.password.toCharArray()
            }
            sockets?.let { socketFactory = it }
        }

        private fun publish(topic: String, payload: ByteArray): Boolean = try {
            client.publish(topic, payload, QOS, false)
            up.addAndGet(payload.size.toLong())
            true
        } catch (error: MqttException) {
            ended(error)
            false
        }

        /** Subscribes; what is not confirmed is asked for again with a new connection. */
        fun subscribe(topics: Array<String>, failed: (Throwable?) -> Unit = {}, confirmed: () -> Unit = {}) = tell {
            client.subscribe(topics, IntArray(topics.size) { QOS }, null, listener(confirmed, failed))
        }

        fun unsubscribe(topics: Array<String>) = tell { client.unsubscribe(topics) }

        private inline fun tell(what: () -> Unit) = try {
            what()
        } catch (error: MqttException) {
            ended(error)
        }

        fun leave(topic: String, bye: ByteArray) {
            outbox.put(topic, sequenceOf(bye))
            if (outbox.waitEmpty(LEAVE_S)) tell { client.disconnect().waitForCompletion(CONNECT_S * 1000L) }
            gone.countDown()
        }

        private fun ended(error: Throwable?) {
            error?.message?.let { reason = "the connection ended ($it)" }
            answered.countDown()
            gone.countDown()
        }

        /** Closes without a word, if it is open: then the will says bye. */
        private fun cut() {
            try {
                if (client.isConnected) client.disconnectForcibly(0, 0, false)
                client.close(true)
            } catch (_: MqttException) {
                return // it was closed
            }
        }

        override fun connectionLost(cause: Throwable?) = ended(cause)

        override fun messageArrived(topic: String, message: MqttMessage) {
            down.addAndGet(message.payload.size.toLong())
            val address = try {
                Address.parse(topic)
            } catch (_: WireException) {
                return
            }
            post(LinkEvent.Arrived(address, message.payload))
        }

        override fun deliveryComplete(token: IMqttDeliveryToken) = outbox.acknowledged()
    }
}
