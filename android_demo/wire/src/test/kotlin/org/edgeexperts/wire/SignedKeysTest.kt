package org.edgeexperts.wire

import com.google.protobuf.ByteString
import java.io.ByteArrayInputStream
import java.math.BigInteger
import java.security.AlgorithmParameters
import java.security.KeyFactory
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import java.security.spec.ECGenParameterSpec
import java.security.spec.ECParameterSpec
import java.security.spec.ECPrivateKeySpec
import java.util.Date
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import org.edgeexperts.wire.secure.FederationScope
import org.edgeexperts.wire.secure.KeySigner

/** Signing, with the keys and certificates of the shared cases; that lies are refused is theirs to show. */
class SignedKeysTest {
    private val case = Case.readAll().single { it.name == "SignedKeys/accept" }
    private val scope =
        FederationScope(case.context.any("federation") as String, unhex(case.context.any("federation_digest") as String))
    private val at = Date(1000 * case.context.long("at"))
    private val sent = MaskMembers.parseFrom(case.data).membersList.map { MaskKeys.parseFrom(it.keys) }
    private val authority = certificate(unhex(case.context.any("authority") as String))

    private fun certificate(der: ByteArray) =
        CertificateFactory.getInstance("X.509").generateCertificate(ByteArrayInputStream(der)) as X509Certificate

    /** The cases' private keys are the SHA-256 of a name. */
    private fun key(name: String) = KeyFactory.getInstance("EC").generatePrivate(
        ECPrivateKeySpec(
            BigInteger(1, sha256(name.toByteArray())),
            AlgorithmParameters.getInstance("EC").apply { init(ECGenParameterSpec("secp256r1")) }
                .getParameterSpec(ECParameterSpec::class.java),
        ),
    )

    /** A list of what is signed here is taken, and one with a name's keys under another is not. */
    @Test
    fun whatIsSignedHereIsTaken() {
        val (phone, box) = sent.map { keys ->
            val own = KeySigner(certificate(keys.certificate.toByteArray()), key(keys.device), listOf(authority))
            val bare = keys.toBuilder().clearCertificate().clearSignature().setPlanDigest(ByteString.copyFrom(ByteArray(32) { 9 }))
            own.authority to own.sign(bare.build(), scope)
        }
        val listed = MaskMembers.newBuilder().setRound(phone.second.round)
            .addMembers(MaskMember.newBuilder().setKeys(phone.second.toByteString()))
            .addMembers(MaskMember.newBuilder().setKeys(box.second.toByteString())).build()
        assertEquals(listOf("phone-1", "box"), phone.first.checkList(listed, scope, at))
        val error = assertFailsWith<SecureException> {
            phone.first.check(box.second.toBuilder().setSignature(phone.second.signature).build(), scope, at)
        }
        assertEquals("the keys of box are not signed with the key of its certificate, or for another round", error.message)
    }

    /** Without the authority that issued it, a certificate serves no round under masks. */
    @Test
    fun aCertificateWithoutItsIssuerIsRefused() {
        val own = certificate(sent[0].certificate.toByteArray())
        val other = certificate(sent[1].certificate.toByteArray())
        assertFailsWith<SecureException> { KeySigner(own, key("phone-1"), listOf(other, own)) }
        KeySigner(own, key("phone-1"), listOf(other, authority))
    }
}
