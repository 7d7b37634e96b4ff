package org.edgeexperts.core

import org.edgeexperts.wire.LOOPBACK
import java.net.URI
import java.net.URISyntaxException
import java.net.URLDecoder

private const val PLAIN_PORT = 1883
private const val TLS_PORT = 8883

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
 * @property host name or address.
 * @property port TCP port.
 * @property tls null: plain text.
 * @property user name, where the broker asks for one; empty is none.
 * @property password its password.
 */
public class Broker(
    public val host: String,
    public val port: Int,
    public val tls: TlsIdentity? = null,
    public val user: String = "",
    public val password: String = "",
) {
    /** Returns the URL without credentials. */
    override fun toString(): String = "${if (tls == null) "mqtt" else "mqtts"}://$host:$port"

    public companion object {
        /**
         * Reads `mqtt://[user:password@]host[:port]` or `mqtts://...`.
         *
         * @param url of the broker.
         * @param identity for mqtts://.
         * @param allowPlaintext take mqtt:// to another machine, where anyone on the way can read and change what is
         *   sent.
         * @throws ConfigException for anything else.
         */
        public fun parse(url: String, identity: TlsIdentity? = null, allowPlaintext: Boolean = false): Broker {
            val parts = try {
                URI(url)
            } catch (error: URISyntaxException) {
                throw ConfigException("broker: this is no URL (${error.reason}); expected mqtt://HOST:PORT", error)
            }
            val tls = parts.scheme == "mqtts"
            val host = parts.host
            if ((!tls && parts.scheme != "mqtt") || host == null || parts.path.trim('/').isNotEmpty()) {
                throw ConfigException("broker: expected mqtt://HOST:PORT or mqtts://HOST:PORT")
            }
            if (!tls && host.removeSurrounding("[", "]") !in LOOPBACK && !allowPlaintext) {
                throw ConfigException(
                    "broker $host is another machine and mqtt:// is not encrypted; use mqtts://, or allow plain text " +
                        "on a network that you trust",
                )
            }
            if (!tls && identity != null) {
                throw ConfigException("certificates need mqtts://, the broker's URL says mqtt://")
            }
            val (user, password) = credentials(parts.rawUserInfo.orEmpty())
            val port = if (parts.port >= 0) parts.port else if (tls) TLS_PORT else PLAIN_PORT
            return Broker(host, port, if (tls) identity ?: TlsIdentity() else null, user, password)
        }

        private fun credentials(info: String): Pair<String, String> {
            fun plain(text: String) = URLDecoder.decode(text.replace("+", "%2B"), "UTF-8")
            return plain(info.substringBefore(':')) to plain(info.substringAfter(':', ""))
        }
    }
}
