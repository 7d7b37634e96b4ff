package org.edgeexperts.core

import org.edgeexperts.wire.BrokerUrl
import org.edgeexperts.wire.BrokerUrlException

/**
 * Whom to trust and how to prove who this device is; every part is the text of a PEM file.
 *
 * @property ca the authority that signed the broker's certificate; null takes the system's.
 * @property certificate the device's certificate, with what lies between it and its authority.
 * @property key its key, in PKCS#8.
 */
public class TlsIdentity(
    public val ca: String? = null,
    public val certificate: String? = null,
    public val key: String? = null,
)

/**
 * Where the broker is and how to speak to it.
 *
 * @property url of the broker, with credentials where it asks for them.
 * @property identity whom to trust and who this is, where the URL says TLS.
 */
public class Broker(public val url: BrokerUrl, public val identity: TlsIdentity = TlsIdentity()) {
    /** Returns the URL without credentials. */
    override fun toString(): String = url.toString()

    public companion object {
        /**
         * Reads a broker's URL; edge_runtime/wire/SPEC.md, "Broker URLs".
         *
         * @param identity for mqtts://.
         * @param allowPlaintext take mqtt:// to another machine.
         * @throws ConfigException when [url] is none, or certificates come with one that is not encrypted.
         */
        public fun parse(url: String, identity: TlsIdentity? = null, allowPlaintext: Boolean = false): Broker {
            val read = try {
                BrokerUrl.parse(url, allowPlaintext)
            } catch (error: BrokerUrlException) {
                throw ConfigException(error.message.orEmpty(), error)
            }
            if (!read.tls && identity != null) {
                throw ConfigException("certificates need mqtts:// or wss://, the broker's URL says neither")
            }
            return Broker(read, identity ?: TlsIdentity())
        }
    }
}
