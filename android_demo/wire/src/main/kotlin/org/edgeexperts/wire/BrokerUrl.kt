/** Brokers' URLs and hosts: where a broker is, in one line of text; rules: SPEC.md, "Broker URLs". */
package org.edgeexperts.wire

import java.io.ByteArrayOutputStream
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/** UTF-8 bytes of a user and of a password. */
internal const val CREDENTIAL_BYTES = 200

private const val NAME = "[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
private const val ADDRESS_6 = "(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}" // a colon alone makes no address

/** A name or an address, IPv6 without brackets. */
internal val HOST = Regex("$NAME|$ADDRESS_6")

private const val PORT_LIMIT = 0xFFFF
private const val HEX = 16
private val PORTS = mapOf("mqtt" to 1883, "mqtts" to 8883, "ws" to 80, "wss" to 443)
private val TLS = setOf("mqtts", "wss")
private val WEBSOCKET = setOf("ws", "wss")
private const val WEBSOCKET_PATH = "/mqtt"
private val URL =
    Regex("([A-Za-z]+)://(?:([^ @/?#\\[\\]]*)@)?(?:($NAME)|\\[($ADDRESS_6)])(?::([0-9]{1,5}))?($WEBSOCKET_PATH|/)?")
private val ESCAPE = Regex("%([0-9A-Fa-f]{2})")
private const val OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
private val LOOPBACK = Regex("localhost|::1|127(?:\\.$OCTET){3}")

/** A broker's URL cannot be used; the text says why, and shows nothing that may be secret. */
public class BrokerUrlException(message: String, cause: Throwable? = null) : FederationException(message, cause)

/** Returns whether [host] is this machine; to any other, plain MQTT has to be allowed explicitly. */
public fun isLoopback(host: String): Boolean = LOOPBACK.matches(host)

/**
 * Where a broker is and who asks.
 *
 * @property host a name or an address, IPv6 without brackets.
 * @property port TCP port.
 * @property tls speak TLS (mqtts, wss).
 * @property user name for the broker; "" is none.
 * @property password it goes with [user].
 * @property websocket MQTT goes through a WebSocket (ws, wss), for networks that let nothing else pass.
 */
public class BrokerUrl(
    public val host: String,
    public val port: Int,
    public val tls: Boolean = false,
    public val user: String = "",
    public val password: String = "",
    public val websocket: Boolean = false,
) {
    /** `HOST:PORT`, an IPv6 host in brackets. */
    public val address: String get() = if (':' in host) "[$host]:$port" else "$host:$port"

    /** The scheme for the same with TLS. */
    internal val secureScheme: String get() = if (websocket) "wss" else "mqtts"

    /** Returns the URL without credentials. */
    override fun toString(): String = "${if (tls) secureScheme else secureScheme.removeSuffix("s")}://$address"

    public companion object {
        /**
         * Reads `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, `mqtts://...`, or `ws://...` and `wss://...`.
         *
         * @param allowPlaintext take one without TLS to another machine, where anyone on the way can read and change
         *   what is sent.
         * @throws BrokerUrlException for anything else.
         */
        public fun parse(text: String, allowPlaintext: Boolean = false): BrokerUrl {
            val parts = URL.matchEntire(text)?.groupValues
            val scheme = parts?.get(1)?.lowercase()
            val websocket = scheme in WEBSOCKET
            if (parts == null || scheme !in PORTS || (parts[6] == WEBSOCKET_PATH && !websocket)) {
                throw BrokerUrlException(
                    "the broker's URL cannot be read; expected mqtt://HOST:PORT or mqtts://HOST:PORT (wss://HOST:PORT " +
                        "through a WebSocket), before the host perhaps USER@ or USER:PASSWORD@ with %40 for @, %3A for " +
                        ":, %2F for / and %25 for %",
                )
            }
            val port = parts[5].ifEmpty { PORTS.getValue(scheme!!).toString() }.toInt()
            if (port !in 1..PORT_LIMIT) {
                throw BrokerUrlException("the port in the broker's URL is out of range, expected 1 to $PORT_LIMIT")
            }
            val user = decoded(parts[2].substringBefore(':'), "user")
            val password = decoded(parts[2].substringAfter(':', ""), "password")
            if (user.isEmpty() && password.isNotEmpty()) {
                throw BrokerUrlException(
                    "the broker's URL has a password and no user; expected USER:PASSWORD@ before the host",
                )
            }
            val host = parts[3].ifEmpty { parts[4] }.lowercase()
            val url = BrokerUrl(host, port, scheme in TLS, user, password, websocket)
            if (!url.tls && !allowPlaintext && !isLoopback(url.host)) {
                throw BrokerUrlException(
                    "broker ${url.host} is another machine and $scheme:// is not encrypted; use " +
                        "${url.secureScheme}://, or allow plain text on a network that you trust",
                )
            }
            return url
        }

        private fun decoded(text: String, name: String): String {
            val decoded = if ('%' in ESCAPE.replace(text, "") || loneSurrogate(text)) null else unescaped(text)
            if (decoded == null || !plain(decoded, CREDENTIAL_BYTES)) {
                throw BrokerUrlException(
                    "the $name in the broker's URL cannot be used; expected at most $CREDENTIAL_BYTES bytes of plain " +
                        "UTF-8, a % written as %25",
                )
            }
            return decoded
        }

        /** Returns [text] with each escape as its byte; null where these are not UTF-8. */
        private fun unescaped(text: String): String? {
            val bytes = ByteArrayOutputStream()
            var end = 0
            for (escape in ESCAPE.findAll(text)) {
                bytes.write(text.substring(end, escape.range.first).toByteArray())
                bytes.write(escape.groupValues[1].toInt(HEX))
                end = escape.range.last + 1
            }
            bytes.write(text.substring(end).toByteArray())
            return try {
                Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes.toByteArray())).toString()
            } catch (_: CharacterCodingException) {
                null
            }
        }
    }
}
