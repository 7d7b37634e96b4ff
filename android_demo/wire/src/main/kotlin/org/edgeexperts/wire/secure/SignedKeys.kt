/**
 * Keys for masks, signed by the device that they belong to with the key of its certificate. Rules:
 * edge_runtime/wire/SPEC.md, "Signed keys".
 *
 * Certificates are X.509 (RFC 5280), all issued by one authority, without another between; their keys sign by ECDSA on
 * P-256 with SHA-256. Times come from the caller.
 */
package org.edgeexperts.wire.secure

import com.google.protobuf.ByteString
import java.io.ByteArrayInputStream
import java.math.BigInteger
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.GeneralSecurityException
import java.security.PrivateKey
import java.security.PublicKey
import java.security.Signature
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import java.security.interfaces.ECPublicKey
import java.util.Date
import org.edgeexperts.wire.MaskKeys
import org.edgeexperts.wire.MaskMembers
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.ROOT
import org.edgeexperts.wire.SecureException

private val DOMAIN = "edge-experts mask keys 1\u0000".toByteArray()

private const val SCHEME = "SHA256withECDSA"

private const val CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"

/** Of the base point of P-256 (NIST SP 800-186), which no other curve has. */
private val P256_ORDER = BigInteger("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)

/** What keys are signed for: a federation's [name], second word of its topics, and the [digest] of its architecture. */
public class FederationScope(public val name: String, public val digest: ByteArray)

/** Returns what a device signs: its [keys], for one plan of one round of one federation, and for its own name. */
public fun statement(keys: MaskKeys, federation: FederationScope): ByteArray {
    val topic = "$ROOT/${federation.name}/masks/${keys.device}".toByteArray()
    val size = DOMAIN.size + topic.size + 1 + federation.digest.size + keys.planDigest.size() + Long.SIZE_BYTES +
        keys.sharing.size() + keys.maskingList.sumOf { Int.SIZE_BYTES + it.key.size() }
    val buffer = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN)
    buffer.put(DOMAIN).put(topic).put(0).put(federation.digest).put(keys.planDigest.toByteArray()).putLong(keys.round)
    buffer.put(keys.sharing.toByteArray())
    for (one in keys.maskingList) buffer.putInt(one.circle).put(one.key.toByteArray())
    return buffer.array()
}

/** Who issues the certificates of a federation's devices, by its own [certificate]. */
public class KeyAuthority(private val certificate: X509Certificate) {
    /**
     * Refuses a list of which not every member signed its keys for this round, or that has one device twice.
     *
     * @param listed as it was decoded.
     * @param at when the certificates have to hold.
     * @return names of the members, in order.
     * @throws SecureException saying what is wrong, and of which device.
     * @throws org.edgeexperts.wire.WireException when a member's keys are no MaskKeys.
     */
    public fun checkList(listed: MaskMembers, federation: FederationScope, at: Date): List<String> {
        val names = LinkedHashSet<String>()
        listed.membersList.forEachIndexed { place, member ->
            val keys = if (member.keys.isEmpty) null else MessageKind.MASK_KEYS.decode(member.keys.toByteArray())
            if (keys == null || keys.signature.isEmpty) {
                throw SecureException(
                    "member $place of the list has not signed its keys: with a certificate this device takes part only " +
                        "among devices that sign",
                )
            }
            if (keys.round != listed.round) {
                throw SecureException(
                    "the list of round ${listed.round} has keys of ${keys.device} for round ${keys.round}",
                )
            }
            if (!names.add(keys.device)) throw SecureException("${keys.device} is in the list twice")
            check(keys, federation, at)
        }
        return names.toList()
    }

    /** Refuses [keys] that their device did not sign for this federation; [at]: when its certificate has to hold. */
    public fun check(keys: MaskKeys, federation: FederationScope, at: Date) {
        val who = keys.device
        if (keys.certificate.isEmpty) throw SecureException("the keys of $who are not signed")
        val leaf = parse(keys.certificate, who)
        if (!issued(leaf)) throw SecureException("the certificate of $who is not of this federation's authority")
        try {
            leaf.checkValidity(at)
            certificate.checkValidity(at)
        } catch (error: GeneralSecurityException) {
            throw SecureException("the certificate of $who, or that of the authority, does not hold now", error)
        }
        if (!ofDevice(leaf)) throw SecureException("the certificate that came for $who is not one of a device")
        val public = leaf.publicKey
        if (!onP256(public)) throw SecureException("the certificate of $who has a key that is not ECDSA on P-256")
        if (commonName(leaf.subjectX500Principal.getName("RFC2253")) != who) {
            throw SecureException("keys of $who came with the certificate of another")
        }
        if (!verified(public, keys.signature.toByteArray(), statement(keys, federation))) {
            throw SecureException("the keys of $who are not signed with the key of its certificate, or for another round")
        }
    }

    /** Returns whether [leaf] was issued by this authority. */
    public fun issued(leaf: X509Certificate): Boolean = leaf.issuerX500Principal == certificate.subjectX500Principal && try {
        leaf.verify(certificate.publicKey)
        true
    } catch (_: GeneralSecurityException) {
        false
    }
}

/**
 * A device's certificate and key: signs its own keys for masks, and checks those of others.
 *
 * @param certificate of the device.
 * @param key of the certificate.
 * @param authorities that the device knows: those of its enrolment, and what stands behind its certificate.
 * @throws SecureException when none of them issued the certificate, or its key is not ECDSA on P-256: no round under masks
 * can be taken part in then, which is no reason to go without.
 */
public class KeySigner(
    private val certificate: X509Certificate,
    private val key: PrivateKey,
    authorities: List<X509Certificate>,
) {
    /** The one that issued this device's certificate: others' are to be of it, too. */
    public val authority: KeyAuthority = authorities.map(::KeyAuthority).find { it.issued(certificate) }
        ?: throw SecureException("the authority that issued this device's certificate is not in its enrolment (ca)")

    init {
        if (!onP256(certificate.publicKey)) {
            throw SecureException("the key of this device's certificate is of another kind than ECDSA on P-256")
        }
    }

    /** Returns [keys], with their round, signed. */
    public fun sign(keys: MaskKeys, federation: FederationScope): MaskKeys {
        val signature = Signature.getInstance(SCHEME).apply {
            initSign(key)
            update(statement(keys, federation))
        }
        return keys.toBuilder().setCertificate(ByteString.copyFrom(certificate.encoded))
            .setSignature(ByteString.copyFrom(signature.sign())).build()
    }
}

private fun parse(data: ByteString, who: String): X509Certificate = try {
    val factory = CertificateFactory.getInstance("X.509")
    factory.generateCertificate(ByteArrayInputStream(data.toByteArray())) as X509Certificate
} catch (error: GeneralSecurityException) {
    throw SecureException("the certificate of $who cannot be read", error)
}

/** That of the gateway is issued by the same authority, for a server. */
private fun ofDevice(leaf: X509Certificate): Boolean = try {
    val purposes: List<String>? = leaf.extendedKeyUsage
    leaf.basicConstraints < 0 && leaf.keyUsage?.get(0) != false && (purposes == null || CLIENT_AUTH in purposes)
} catch (_: GeneralSecurityException) {
    false
}

private fun onP256(public: PublicKey): Boolean =
    public is ECPublicKey && public.params?.order == P256_ORDER

private fun verified(public: PublicKey, signature: ByteArray, text: ByteArray): Boolean = try {
    Signature.getInstance(SCHEME).run {
        initVerify(public)
        update(text)
        verify(signature)
    }
} catch (_: GeneralSecurityException) {
    false
}

/** Returns the only CN of [subject], written as RFC 2253 says; null where there is none, or more. What is escaped names no device. */
private fun commonName(subject: String): String? =
    subject.split(Regex("(?<!\\\\)[,+]")).filter { it.startsWith("CN=") }.map { it.removePrefix("CN=") }.singleOrNull()
