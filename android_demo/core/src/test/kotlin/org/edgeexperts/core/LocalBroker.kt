package org.edgeexperts.core

import org.edgeexperts.wire.hex
import org.edgeexperts.wire.unhex
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread
import kotlin.test.assertNotNull

const val LIMIT_S = 30L

/**
 * The project's embedded broker in a process of its own.
 *
 * @param port 0 chooses a free one.
 * @param tls paths of certificate, key and the clients' authority: devices then come by TLS.
 */
class LocalBroker(port: Int = 0, vararg tls: String) : AutoCloseable {
    private val process = startPython("broker.py", port.toString(), *tls)
    private val output = process.inputStream.bufferedReader()
    private val heard = LinkedBlockingQueue<Pair<String, ByteArray>>()
    private val said = LinkedBlockingQueue<String>()
    val port: Int
    val websocketPort: Int

    init {
        val words = assertNotNull(output.readLine(), "the broker did not start").split(" ")
        this.port = words[0].toInt()
        websocketPort = words[1].toInt()
        thread(isDaemon = true) { output.forEachLine(::take) }
    }

    private fun take(line: String) {
        val words = line.split(" ")
        if (words[0] == "heard") heard.add(words[1] to unhex(words[2])) else said.add(line)
    }

    /** Returns the other side, in the broker's process. */
    fun gateway(): Gateway = Gateway(heard, ::say)

    private fun say(line: String) {
        process.outputStream.write("$line\n".toByteArray())
        process.outputStream.flush()
        assertNotNull(said.poll(LIMIT_S, TimeUnit.SECONDS), "the broker did not say it")
    }

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
class Gateway(private val heard: LinkedBlockingQueue<Pair<String, ByteArray>>, private val send: (String) -> Unit) {
    fun say(topic: String, payload: ByteArray, retained: Boolean = false) =
        send("fl/v1/home/$topic ${hex(payload)} ${if (retained) 1 else 0}")

    /** Returns the next message on a topic. */
    fun next(topic: String): ByteArray {
        while (true) {
            val (name, payload) = assertNotNull(heard.poll(LIMIT_S, TimeUnit.SECONDS), "nothing came on $topic")
            if (name == "fl/v1/home/$topic") return payload
        }
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
