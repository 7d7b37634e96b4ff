package org.edgeexperts.core

import org.edgeexperts.wire.Topic
import java.io.File
import java.nio.file.Files
import java.security.Key
import java.security.KeyStore
import java.util.Base64
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** Over TLS before the project's real broker, with certificates that the JDK's keytool makes for each test. */
class TlsTest {
    private val folder = Files.createTempDirectory("tls").toFile()
    private val secret = "changeit"

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    private fun pem(kind: String, data: ByteArray): String {
        val text = Base64.getMimeEncoder(64, "\n".toByteArray()).encodeToString(data)
        return "-----BEGIN $kind-----\n$text\n-----END $kind-----\n"
    }

    /** An authority with the certificates that it signs. */
    private inner class Authority(private val name: String) {
        private val path = File(folder, "$name.p12")

        init {
            generate(name, "-ext", "bc:c")
        }

        private fun generate(alias: String, vararg more: String) {
            val tool = File(System.getProperty("java.home"), "bin/keytool").path
            val command = listOf(
                tool, "-genkeypair", "-alias", alias, "-dname", "CN=$alias", "-keystore", path.path,
                "-storetype", "PKCS12", "-storepass", secret, "-validity", "2", *more,
            )
            val process = ProcessBuilder(if ("-keyalg" in command) command else command + listOf("-keyalg", "EC"))
                .redirectErrorStream(true).start()
            val printed = process.inputStream.bufferedReader().readText()
            assertEquals(0, process.waitFor(), printed)
        }

        fun sign(alias: String, vararg more: String) = generate(alias, "-signer", name, *more)

        private fun store() = path.inputStream().use { file ->
            KeyStore.getInstance("PKCS12").apply { load(file, secret.toCharArray()) }
        }

        fun certificate(alias: String = name) = pem("CERTIFICATE", store().getCertificate(alias).encoded)

        fun key(alias: String): String {
            val key: Key = store().getKey(alias, secret.toCharArray())
            return pem("PRIVATE KEY", key.encoded)
        }

        fun write(alias: String): List<String> = listOf(
            File(folder, "$alias.pem").apply { writeText(certificate(alias)) }.path,
            File(folder, "$alias.key").apply { writeText(key(alias)) }.path,
        )
    }

    private fun broker(ours: Authority, address: String = "ip:127.0.0.1"): LocalBroker {
        ours.sign("server", "-ext", "san=$address")
        val authority = File(folder, "ca.pem").apply { writeText(ours.certificate()) }
        return LocalBroker(0, *ours.write("server").toTypedArray(), authority.path)
    }

    private fun at(broker: LocalBroker, identity: TlsIdentity) =
        Broker.parse("mqtts://127.0.0.1:${broker.tlsPort}", identity)

    private fun identity(authority: Authority, device: String, trusted: Authority = authority) =
        TlsIdentity(trusted.certificate(), authority.certificate(device), authority.key(device))

    /** With the right authority and a certificate, messages go both ways; keys may be of either kind. */
    @Test
    fun aDeviceWithACertificateIsServed() {
        val ours = Authority("ours")
        ours.sign("elliptic")
        ours.sign("rsa", "-keyalg", "RSA")
        broker(ours).use { broker ->
            broker.gateway().use { gateway ->
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
    }

    private fun refusal(broker: LocalBroker, identity: TlsIdentity): String =
        Listening(at(broker, identity)).use { device ->
            device.link.start()
            assertIs<LinkEvent.Down>(device.next()).reason
        }

    /** Without a certificate, or with a stranger's, the listener ends the connection. */
    @Test
    fun aStrangerIsNotServed() {
        val (ours, theirs) = Authority("ours") to Authority("theirs")
        theirs.sign("phone")
        broker(ours).use { broker ->
            refusal(broker, TlsIdentity(ours.certificate()))
            refusal(broker, identity(theirs, "phone", trusted = ours))
        }
    }

    /** A broker whose certificate another authority signed, or that names another host, is not spoken to. */
    @Test
    fun anotherBrokerIsNotTrusted() {
        val (ours, theirs) = Authority("ours") to Authority("theirs")
        ours.sign("phone")
        broker(ours).use { broker ->
            assertTrue("certification path" in refusal(broker, identity(ours, "phone", trusted = theirs)))
        }
        val others = Authority("others").apply { sign("phone") }
        broker(others, "dns:gateway.example").use { broker ->
            assertTrue("127.0.0.1" in refusal(broker, identity(others, "phone")))
        }
    }

    /** A key in another form says how to convert it. */
    @Test
    fun anOldKeyIsRefusedWithAdvice() {
        val ours = Authority("ours").apply { sign("phone") }
        val old = ours.key("phone").replace("PRIVATE KEY", "EC PRIVATE KEY")
        val error = assertFailsWith<ConfigException> {
            socketFactory(TlsIdentity(ours.certificate(), ours.certificate("phone"), old))
        }
        assertTrue("openssl pkcs8 -topk8" in error.message!!)
        val broken = ours.key("phone").replace("M", "N")
        assertFailsWith<ConfigException> { socketFactory(TlsIdentity(null, ours.certificate("phone"), broken)) }
    }
}
