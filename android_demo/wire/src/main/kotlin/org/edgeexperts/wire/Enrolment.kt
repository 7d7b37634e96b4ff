/** Enrolment files: what a device needs to take part in a federation; rules: SPEC.md, "Enrolment". */
package org.edgeexperts.wire

/** Format of enrolment files that is read here; another is refused. */
public const val ENROLMENT_FORMAT: Long = 2

/** Bytes of an enrolment file that is read. */
public const val ENROLMENT_LIMIT: Int = 256 * 1024

private const val PORT_LIMIT = 0xFFFFL
private const val CERTIFICATE = "CERTIFICATE"
private const val PRIVATE_KEY = "PRIVATE KEY"
private val DIGEST = Regex("[0-9a-f]{64}")

/**
 * Where the gateway's broker is.
 *
 * @property host a name, an IPv4 address, or an IPv6 address without brackets.
 * @property port TCP port.
 * @property tls speak TLS.
 * @property allowPlaintext without TLS, take a host that is another machine: anyone on the way can read and change all.
 * @property websocket MQTT goes through a WebSocket.
 */
public data class GatewayAddress(
    public val host: String,
    public val port: Int,
    public val tls: Boolean,
    public val allowPlaintext: Boolean = false,
    public val websocket: Boolean = false,
)

/**
 * One device's way into one federation. It may hold a private key or a password, and is as secret as they are.
 *
 * @property device its id.
 * @property federation second word of every topic.
 * @property federationDigest hex; a package of another federation cannot take part.
 * @property packageDigest hex, of the package that the device should have; "" takes any of the federation.
 * @property ca PEM of the authority that signed the broker's certificate; "" takes the system's.
 * @property certificate PEM of the device's certificate, "" is none; it goes with [key].
 * @property key PEM of its key in PKCS#8, not encrypted.
 * @property user name for the broker; "" is none.
 * @property password it goes with [user].
 * @property gatewayKey hex of the Ed25519 key that the gateway signs with; "" takes what is not signed.
 * @property packageKey hex of the Ed25519 key that packages must be signed with; "" asks for no signature.
 */
public class Enrolment private constructor(
    public val device: String,
    public val federation: String,
    public val federationDigest: String,
    public val packageDigest: String,
    public val gateway: GatewayAddress,
    public val ca: String,
    public val certificate: String,
    public val key: String,
    public val user: String,
    public val password: String,
    public val gatewayKey: String,
    public val packageKey: String,
) {
    /** Names what it is for, without secrets. */
    override fun toString(): String = "$device in $federation at ${gateway.host}:${gateway.port}"

    public companion object {
        /**
         * Reads a file's bytes.
         *
         * @param source what they are, for the error.
         * @throws EnrolmentException saying which key is wrong and how; never with a key or password.
         */
        public fun fromJson(data: ByteArray, source: String = "the enrolment"): Enrolment {
            if (data.size > ENROLMENT_LIMIT) {
                throw EnrolmentException("$source has over $ENROLMENT_LIMIT bytes; ask for the right file")
            }
            try {
                val tree = parseJson(data, source)
                val keys = tree as? Map<*, *>
                val format = keys?.get("enrolment_format")
                if (format is Long && format != ENROLMENT_FORMAT) {
                    throw EnrolmentException("enrolment format $format came, this software reads $ENROLMENT_FORMAT")
                }
                // The general reader shows what it refuses.
                for (name in listOf("key", "password")) {
                    demand(keys == null || name !in keys || keys[name] is String) { "$name is no text" }
                }
                return JsonObject.objectOf(tree, source).all { enrolment() }.also(::check)
            } catch (error: PackageException) {
                throw EnrolmentException(error.message.orEmpty(), error)
            } catch (error: EnrolmentException) {
                throw EnrolmentException("$source: ${error.message}", error)
            }
        }

        private fun JsonObject.enrolment(): Enrolment {
            whole("enrolment_format")
            return Enrolment(
                device = text("device"),
                federation = text("federation"),
                federationDigest = text("federation_digest"),
                packageDigest = text("package_digest"),
                gateway = nested("gateway") { address() },
                ca = optionalText("ca", ""),
                certificate = optionalText("certificate", ""),
                key = optionalText("key", ""),
                user = optionalText("user", ""),
                password = optionalText("password", ""),
                gatewayKey = optionalText("gateway_key", ""),
                packageKey = optionalText("package_key", ""),
            )
        }

        private fun JsonObject.address(): GatewayAddress {
            val port = whole("port")
            demand(port in 1..PORT_LIMIT) { "gateway.port $port, expected 1 to $PORT_LIMIT" }
            val plaintext = optionalTruth("allow_plaintext", false)
            return GatewayAddress(text("host"), port.toInt(), truth("tls"), plaintext, optionalTruth("websocket", false))
        }
    }
}

private inline fun demand(condition: Boolean, detail: () -> String) {
    if (!condition) throw EnrolmentException(detail())
}

private fun check(enrolment: Enrolment) {
    try {
        checkName(enrolment.device, "device")
        checkName(enrolment.federation, "federation")
    } catch (error: WireException) {
        throw EnrolmentException(error.detail, error)
    }
    val digests = listOf(enrolment.federationDigest, enrolment.packageDigest)
    demand(DIGEST.matches(digests[0]) && (digests[1].isEmpty() || DIGEST.matches(digests[1]))) {
        "a digest is no SHA-256 in 64 lower-case hex digits"
    }
    for ((name, key) in listOf("gateway_key" to enrolment.gatewayKey, "package_key" to enrolment.packageKey)) {
        demand(key.isEmpty() || DIGEST.matches(key)) { "$name is no public key in 64 lower-case hex digits" }
    }
    checkGateway(enrolment)
    checkIdentity(enrolment)
}

private fun checkGateway(enrolment: Enrolment) {
    val at = enrolment.gateway
    demand(HOST.matches(at.host)) { "gateway.host ${shown(at.host)} is no host name or address" }
    demand(at.tls || at.allowPlaintext || isLoopback(at.host)) {
        "${at.host} is another machine and tls is false; use a broker with TLS, or set allow_plaintext on a network " +
            "that you trust"
    }
    demand(!(at.tls && at.allowPlaintext)) { "tls and allow_plaintext contradict each other" }
    val pem = enrolment.ca + enrolment.certificate + enrolment.key
    demand(at.tls || pem.isEmpty()) { "certificates need tls, which is false" }
}

private fun checkIdentity(enrolment: Enrolment) {
    demand(enrolment.certificate.isEmpty() == enrolment.key.isEmpty()) {
        "certificate and key go together; one of them is missing"
    }
    checkPem("ca", enrolment.ca, CERTIFICATE)
    checkPem("certificate", enrolment.certificate, CERTIFICATE)
    checkPem("key", enrolment.key, PRIVATE_KEY)
    demand(enrolment.user.isNotEmpty() || enrolment.password.isEmpty()) { "a password came without a user" }
    for ((name, text) in listOf("user" to enrolment.user, "password" to enrolment.password)) {
        demand(plain(text, CREDENTIAL_BYTES)) { "$name is over $CREDENTIAL_BYTES bytes or not plain" }
    }
}

private fun checkPem(name: String, text: String, kind: String) {
    val ends = listOf("-----BEGIN $kind-----", "-----END $kind-----")
    demand(text.isEmpty() || ends.all(text::contains)) { "$name is no PEM text (${ends[0]} …)" }
}
