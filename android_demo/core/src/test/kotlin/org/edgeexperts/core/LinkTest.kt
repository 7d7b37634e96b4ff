package org.edgeexperts.core

import org.edgeexperts.wire.Case
import org.edgeexperts.wire.Enrolment
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class LinkTest {
    /** 1, 2, 4 seconds and so on to a minute, half of each by chance. */
    @Test
    fun triesBackOff() {
        assertEquals(listOf(0.5, 1.0, 2.0, 4.0), (0..3).map { backoff(it, 1.0, 60.0, 0.0) })
        assertEquals(30.0, backoff(9, 1.0, 60.0, 0.0))
        assertEquals(45.0, backoff(1_000, 1.0, 60.0, 0.5))
    }

    /** The shared rules are the device's; the text of a broker never shows a password. */
    @Test
    fun urlsAreRead() {
        val broker = Broker.parse("mqtts://me:p%40ss+1@[2001:db8::7]", TlsIdentity(ca = "x"))
        assertEquals(listOf("2001:db8::7", 8883, "me", "p@ss+1"), broker.url.run { listOf(host, port, user, password) })
        assertEquals("x", broker.identity.ca)
        assertEquals("mqtts://[2001:db8::7]:8883", broker.toString())
    }

    /** An enrolment says all of it: the way, the authority, who this is. */
    @Test
    fun anEnrolmentNamesItsBroker() {
        val enrolment = Enrolment.fromJson(Case.bytes("Enrolment", "accept_tls"))
        val broker = brokerOf(enrolment)
        assertEquals("wss://gateway.example:8883", broker.toString())
        assertEquals(listOf(enrolment.ca, enrolment.certificate, enrolment.key), broker.identity.run { listOf(ca, certificate, key) })
        val plain = brokerOf(Enrolment.fromJson(Case.bytes("Enrolment", "accept_plaintext")))
        assertEquals(listOf("phöne", "se\"cret"), plain.url.run { listOf(user, password) })
        assertEquals("mqtt://192.168.0.7:65535", plain.toString())
    }

    /** What is refused is an error of the configuration, as a certificate without encryption is. */
    @Test
    fun otherUrlsAreRefused() {
        for (url in listOf("http://localhost", "mqtt://gateway.example", "mqtts://me:p@ss@a")) {
            val error = assertFailsWith<ConfigException>(url) { Broker.parse(url) }
            assertTrue("mqtts://" in error.message!! && "ss@" !in error.message!!)
        }
        assertEquals(1883, Broker.parse("mqtt://gateway.example", allowPlaintext = true).url.port)
        assertFailsWith<ConfigException> { Broker.parse("mqtt://localhost", TlsIdentity()) }
    }

    /** A key without its certificate, and texts that are none, are refused before anything is sent. */
    @Test
    fun brokenCertificatesAreRefused() {
        fun refusal(identity: TlsIdentity) = assertFailsWith<ConfigException> { socketFactory(identity) }.message!!
        assertTrue("go together" in refusal(TlsIdentity(key = "x")))
        assertTrue("cannot use the certificates" in refusal(TlsIdentity(ca = "-----BEGIN CERTIFICATE-----\nAAAA\n")))
        assertTrue("no PEM text of a certificate" in refusal(TlsIdentity(ca = "")))
    }
}
