package org.edgeexperts.core

import org.edgeexperts.wire.Topic
import org.junit.AfterClass
import org.junit.BeforeClass
import java.io.File
import java.nio.file.Files
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** Over TLS before the project's real broker. */
class TlsTest {
    private fun broker(server: String): LocalBroker {
        val authority = File(folder, "ca.pem").apply { writeText(ours.certificate()) }
        return LocalBroker(0, *ours.write(server).toTypedArray(), authority.path)
    }

    private fun at(broker: LocalBroker, identity: TlsIdentity) =
        Broker.parse("mqtts://127.0.0.1:${broker.port}", identity)

    private fun identity(authority: Authority, device: String, trusted: Authority = ours) =
        TlsIdentity(trusted.certificate(), authority.certificate(device), authority.key(device))

    /** With the right authority and a certificate, messages go both ways; keys may be of either kind. */
    @Test
    fun aDeviceWithACertificateIsServed() = broker("here").use { broker ->
        broker.gateway().let { gateway ->
            for (device in listOf("elliptic", "rsa")) {
                Listening(at(broker, identity(ours, device)), device).use {
                    it.link.start()
                    assertIs<LinkEvent.Up>(it.next())
                    it.link.send(Topic.HELLO, sequenceOf(byteArrayOf(4)))
                    assertContentEquals(byteArrayOf(4), gateway.next("hello/$device"))
                    gateway.say("verdict/$device", ByteArray(100_000))
                    assertEquals(100_000, assertIs<LinkEvent.Arrived>(it.next()).payload.size)
                }
            }
        }
    }

    /** A WebSocket over TLS asks for the same certificates. */
    @Test
    fun aWebSocketOverTlsIsTheSame() = broker("here").use { broker ->
        broker.gateway().let { gateway ->
            val url = "wss://127.0.0.1:${broker.websocketPort}"
            Listening(Broker.parse(url, identity(ours, "elliptic")), "elliptic").use {
                it.link.start()
                assertIs<LinkEvent.Up>(it.next())
                it.link.send(Topic.HELLO, sequenceOf(byteArrayOf(4)))
                assertContentEquals(byteArrayOf(4), gateway.next("hello/elliptic"))
            }
            Listening(Broker.parse(url, identity(theirs, "stranger"))).use {
                it.link.start()
                assertTrue(it.next() is LinkEvent.Down)
            }
        }
    }

    private fun refusal(broker: LocalBroker, identity: TlsIdentity): String =
        Listening(at(broker, identity)).use { device ->
            device.link.start()
            assertIs<LinkEvent.Down>(device.next()).reason
        }

    /** A device without a certificate, or with a stranger's, is not served; one that trusts another broker hangs up. */
    @Test
    fun strangersDoNotMeet() = broker("here").use { broker ->
        refusal(broker, TlsIdentity(ours.certificate()))
        refusal(broker, identity(theirs, "stranger"))
        assertTrue("certification path" in refusal(broker, identity(ours, "elliptic", trusted = theirs)))
    }

    /** A broker that shows another host's certificate is not spoken to, whoever signed it. */
    @Test
    fun theBrokersNameIsChecked() = broker("elsewhere").use { broker ->
        assertTrue("127.0.0.1" in refusal(broker, identity(ours, "elliptic")))
    }

    /** A key in another form says how to convert it; a damaged one is no other kind of key. */
    @Test
    fun aKeyThatCannotBeReadIsRefused() {
        fun refusal(key: String) = assertFailsWith<ConfigException> {
            socketFactory(TlsIdentity(ours.certificate(), ours.certificate("elliptic"), key))
        }.message!!
        val good = ours.key("elliptic")
        assertTrue("openssl pkcs8 -topk8" in refusal(good.replace("PRIVATE KEY", "EC PRIVATE KEY")))
        assertTrue("enrol the device again" in refusal(good.lines().filterIndexed { place, _ -> place != 1 }.joinToString("\n")))
    }

    companion object {
        private val folder = Files.createTempDirectory("tls").toFile()
        private lateinit var ours: Authority
        private lateinit var theirs: Authority

        @BeforeClass
        @JvmStatic
        fun makeCertificates() {
            ours = Authority(folder, "ours")
            ours.sign("here", "EC", "-ext", "san=ip:127.0.0.1")
            ours.sign("elsewhere", "EC", "-ext", "san=dns:gateway.example")
            ours.sign("elliptic")
            ours.sign("rsa", "RSA")
            theirs = Authority(folder, "theirs")
            theirs.sign("stranger")
        }

        @AfterClass
        @JvmStatic
        fun removeFolder() {
            folder.deleteRecursively()
        }
    }
}
