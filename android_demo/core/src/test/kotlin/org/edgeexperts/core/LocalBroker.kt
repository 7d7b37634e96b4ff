package org.edgeexperts.core

import org.eclipse.paho.client.mqttv3.IMqttMessageListener
import org.eclipse.paho.client.mqttv3.MqttClient
import org.eclipse.paho.client.mqttv3.MqttConnectOptions
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.test.assertNotNull

const val LIMIT_S = 30L

/**
 * The project's embedded broker in a process of its own.
 *
 * @param port 0 chooses a free one.
 * @param tls paths of certificate, key and the clients' authority: a TLS listener before it.
 */
class LocalBroker(port: Int = 0, vararg tls: String) : AutoCloseable {
    private val process = startPython("broker.py", port.toString(), *tls)
    val port: Int
    val tlsPort: Int
    val websocketPort: Int
    private val user: String
    private val password: String

    init {
        val words = assertNotNull(process.inputStream.bufferedReader().readLine(), "the broker did not start").split(" ")
        this.port = words[0].toInt()
        user = words[1]
        password = words[2]
        tlsPort = words[3].toInt()
        websocketPort = words[4].toInt()
    }

    /** Returns the other side, through the same broker. */
    fun gateway(): Gateway = Gateway(port, user, password)

    /** Ends it as an operator would. */
    override fun close() {
        process.outputStream.close()
        process.waitFor(LIMIT_S, TimeUnit.SECONDS)
    }

    /** Ends it as a power cut would. */
    fun kill() {
        process.destroyForcibly().waitFor()
    }
}

/** Hears everything that devices say, and says what a test wants. */
class Gateway(port: Int, user: String, password: String) : AutoCloseable {
    private val heard = LinkedBlockingQueue<Pair<String, ByteArray>>()
    private val client = MqttClient("tcp://127.0.0.1:$port", "gateway", MemoryPersistence())

    init {
        client.timeToWait = TimeUnit.SECONDS.toMillis(LIMIT_S)
        client.connect(
            MqttConnectOptions().apply {
                userName = user
                setPassword(password.toCharArray())
            },
        )
        val listener = IMqttMessageListener { topic, message -> heard.add(topic to message.payload) }
        client.subscribe("fl/v1/home/+/+", 1, listener)
    }

    fun say(topic: String, payload: ByteArray, retained: Boolean = false) =
        client.publish("fl/v1/home/$topic", payload, 1, retained)

    /** Returns the next message on a topic. */
    fun next(topic: String): ByteArray {
        while (true) {
            val (name, payload) = assertNotNull(heard.poll(LIMIT_S, TimeUnit.SECONDS), "nothing came on $topic")
            if (name == "fl/v1/home/$topic") return payload
        }
    }

    override fun close() {
        client.disconnectForcibly(0, 1, false) // no farewell to wait for
        client.close(true)
    }
}

/** A link of device `phone`, and what it told. */
class Listening(broker: Broker, device: String = "phone") : AutoCloseable {
    private val events = LinkedBlockingQueue<LinkEvent>()
    val link = MqttLink(broker, "home", device, "gone".toByteArray(), { 0.0 }) { events.add(it) }

    /** Returns the next event. */
    fun next(): LinkEvent = assertNotNull(events.poll(LIMIT_S, TimeUnit.SECONDS), "no event came")

    override fun close() = link.stop("bye".toByteArray())
}
