package org.edgeexperts.core

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

class LinkTest {
    /** 1, 2, 4 seconds and so on to a minute, half of each by chance. */
    @Test
    fun triesBackOff() {
        assertEquals(listOf(0.5, 1.0, 2.0, 4.0), (0..3).map { backoff(it, 1.0, 60.0, 0.0) })
        assertEquals(30.0, backoff(9, 1.0, 60.0, 0.0))
        assertEquals(45.0, backoff(1_000, 1.0, 60.0, 0.5))
    }

    /** Scheme, host, port and credentials; the text of a broker never shows a password. */
    @Test
    fun urlsAreRead() {
        val broker = Broker.parse("mqtts://me:p%40ss+1@gateway.example", TlsIdentity(ca = "x"))
        assertEquals(listOf("gateway.example", 8883, "me", "p@ss+1"), broker.run { listOf(host, port, user, password) })
        assertNotNull(broker.tls)
        assertEquals("mqtts://gateway.example:8883", broker.toString())
        val plain = Broker.parse("mqtt://127.0.0.1:1999")
        assertNull(plain.tls)
        assertEquals(1999, plain.port)
        assertEquals(1883, Broker.parse("mqtt://[::1]").port)
    }

    /** Plain text leaves this machine on request only. */
    @Test
    fun plainTextIsAskedFor() {
        val error = assertFailsWith<ConfigException> { Broker.parse("mqtt://gateway.example") }
        assertTrue("is not encrypted" in error.message!!)
        assertEquals(1883, Broker.parse("mqtt://gateway.example", allowPlaintext = true).port)
        assertFailsWith<ConfigException> { Broker.parse("mqtt://localhost", TlsIdentity()) }
    }

    /** What is no broker's URL is refused. */
    @Test
    fun otherUrlsAreRefused() {
        for (url in listOf("http://localhost", "localhost:1883", "mqtt://", "mqtt://a b", "mqtt://localhost/path", "")) {
            assertFailsWith<ConfigException>(url) { Broker.parse(url) }
        }
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
