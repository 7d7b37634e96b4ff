package org.edgeexperts.core

import org.edgeexperts.wire.BrokerUrl
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.WireException
import java.io.IOException
import java.net.ServerSocket
import kotlin.concurrent.thread
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** Over the project's real broker. Waits are for events, with a limit; none is timed. */
class MqttLinkTest {
    private fun at(port: Int) = Broker(BrokerUrl("127.0.0.1", port))

    /** Up comes first, then what is retained, then what is said; another device's plan does not come. */
    @Test
    fun aDeviceHearsWhatIsMeantForIt() = LocalBroker().use { broker ->
        broker.gateway().let { gateway ->
            gateway.say("gateway", byteArrayOf(1), retained = true)
            Listening(at(broker.port)).use { device ->
                device.link.start()
                assertIs<LinkEvent.Up>(device.next())
                val state = assertIs<LinkEvent.Arrived>(device.next())
                assertEquals(Topic.GATEWAY to "", state.address.topic to state.address.name)
                gateway.say("plan/other", byteArrayOf(2))
                gateway.say("plan/phone", byteArrayOf(3))
                val plan = assertIs<LinkEvent.Arrived>(device.next())
                assertEquals("fl/v1/home/plan/phone", plan.address.toString())
                assertContentEquals(byteArrayOf(3), plan.payload)
                assertEquals(2, device.link.bytesDown)
                gateway.say("secure/phone", byteArrayOf(4), retained = true) // a topic of rounds under masks, which it asks for
                repeat(2) { device.link.listen(Topic.SECURE) }
                assertContentEquals(byteArrayOf(4), assertIs<LinkEvent.Arrived>(device.next()).payload)
            }
        }
    }

    /** Forty messages, five times what may be under way, arrive in order; they are made as they are sent. */
    @Test
    fun aLongBodyArrivesInOrder() = LocalBroker().use { broker ->
        broker.gateway().let { gateway ->
            Listening(at(broker.port)).use { device ->
                device.link.start()
                assertIs<LinkEvent.Up>(device.next())
                val payload = ByteArray(10_000)
                device.link.send(Topic.DELTA, (0 until 40).asSequence().map { payload.copyOf().also { p -> p[0] = it.toByte() } })
                assertEquals((0 until 40).toList(), (0 until 40).map { gateway.next("delta/phone")[0].toInt() })
                assertEquals(400_000, device.link.bytesUp)
            }
        }
    }

    /** Through a WebSocket the largest messages pass both ways, in order. */
    @Test
    fun aDeviceTakesPartThroughAWebSocket() = LocalBroker().use { broker ->
        broker.gateway().let { gateway ->
            Listening(Broker(BrokerUrl("127.0.0.1", broker.websocketPort, websocket = true))).use { device ->
                device.link.start()
                assertIs<LinkEvent.Up>(device.next())
                device.link.send(Topic.DELTA, (0 until 20).asSequence().map { ByteArray(131_072) { _ -> it.toByte() } })
                assertEquals((0 until 20).toList(), (0 until 20).map { gateway.next("delta/phone")[131_071].toInt() })
                gateway.say("plan/phone", ByteArray(131_072) { 7 })
                assertContentEquals(ByteArray(131_072) { 7 }, assertIs<LinkEvent.Arrived>(device.next()).payload)
            }
        }
    }

    /** The Want is published when the blob's topic is listened to, so that the answer cannot be missed. */
    @Test
    fun blobsAreListenedToBeforeTheyAreAskedFor() = LocalBroker().use { broker ->
        broker.gateway().let { gateway ->
            Listening(at(broker.port)).use { device ->
                device.link.start()
                assertIs<LinkEvent.Up>(device.next())
                val blob = "ab".repeat(32)
                device.link.request(listOf(blob), byteArrayOf(9))
                assertContentEquals(byteArrayOf(9), gateway.next("want/phone"))
                gateway.say("blob/$blob", byteArrayOf(7))
                val arrived = assertIs<LinkEvent.Arrived>(device.next())
                assertEquals(Topic.BLOB to blob, arrived.address.topic to arrived.address.name)
                device.link.release(setOf(blob))
                device.link.send(Topic.HELLO, sequenceOf(byteArrayOf(1)))
                gateway.next("hello/phone") // behind the release
                gateway.say("blob/$blob", byteArrayOf(8))
                gateway.say("verdict/phone", byteArrayOf(5))
                assertEquals(Topic.VERDICT, assertIs<LinkEvent.Arrived>(device.next()).address.topic)
            }
        }
    }

    /** A device that leaves says bye itself, after all that it had to send. */
    @Test
    fun leavingSaysBye() = LocalBroker().use { broker ->
        broker.gateway().let { gateway ->
            val device = Listening(at(broker.port))
            device.link.start()
            assertIs<LinkEvent.Up>(device.next())
            device.link.send(Topic.HELLO, sequenceOf(byteArrayOf(1)))
            device.close()
            assertContentEquals(byteArrayOf(1), gateway.next("hello/phone"))
            assertEquals("bye", gateway.next("bye/phone").decodeToString())
        }
    }

    /** A broker that is killed and comes back is found again; what was sent meanwhile is dropped, not kept. */
    @Test
    fun aLostBrokerIsFoundAgain() {
        val first = LocalBroker()
        Listening(at(first.port)).use { device ->
            device.link.start()
            assertIs<LinkEvent.Up>(device.next())
            device.link.listen(Topic.SECURE)
            first.kill()
            val down = assertIs<LinkEvent.Down>(device.next())
            assertTrue(down.first)
            assertEquals(0.5, down.againSeconds) // the first step of a second, none of it by chance
            device.link.send(Topic.HELLO, sequenceOf(byteArrayOf(1)))
            LocalBroker(first.port).use { second ->
                second.gateway().let { gateway ->
                    while (device.next() !is LinkEvent.Up) continue
                    device.link.send(Topic.HELLO, sequenceOf(byteArrayOf(2)))
                    assertContentEquals(byteArrayOf(2), gateway.next("hello/phone"))
                    gateway.say("secure/phone", byteArrayOf(3), retained = true)
                    assertContentEquals(byteArrayOf(3), assertIs<LinkEvent.Arrived>(device.next()).payload)
                }
            }
        }
    }

    /** Without a broker the tries come slower and slower, and the user is told once. */
    @Test
    fun aBrokerThatIsNotThereIsTriedLess() {
        val free = ServerSocket(0).use { it.localPort }
        Listening(at(free)).use { device ->
            device.link.start()
            val downs = List(2) { assertIs<LinkEvent.Down>(device.next()) }
            assertEquals(listOf(0.5 to true, 1.0 to false), downs.map { it.againSeconds to it.first })
        }
    }

    /** Connections that end at once, again and again, as when two processes have one name: the user is told so. */
    @Test
    fun aNameUsedTwiceIsSaid() = ServerSocket(0).use { server ->
        thread(isDaemon = true) { serveAndHangUp(server) }
        Listening(at(server.localPort)).use { device ->
            device.link.start()
            val downs = generateSequence { device.next() }.filterIsInstance<LinkEvent.Down>().take(9).toList()
            assertTrue(downs.all { it.first })
            assertEquals(List(8) { 0.5 } + 2.0, downs.map { it.againSeconds })
            assertEquals(8, downs.indexOfFirst { "does another process use the device id phone" in it.reason })
        }
    }

    /** Takes every client, and ends its connection when it subscribes. */
    private fun serveAndHangUp(server: ServerSocket) {
        while (!server.isClosed) {
            try {
                server.accept().use { socket ->
                    val input = socket.getInputStream()
                    input.read() // CONNECT, then its length, which fits a byte here
                    repeat(input.read()) { input.read() }
                    socket.getOutputStream().write(byteArrayOf(0x20, 2, 0, 0)) // CONNACK: accepted
                    input.read()
                    socket.shutdownOutput()
                    while (input.read() >= 0) continue // so that nothing is reset
                }
            } catch (_: IOException) {
                continue
            }
        }
    }

    /** Names that could reach other topics never become a link. */
    @Test
    fun namesAreChecked() {
        assertFailsWith<WireException> { MqttLink(at(1), "home", "a/#", ByteArray(0)) {} }
    }
}
