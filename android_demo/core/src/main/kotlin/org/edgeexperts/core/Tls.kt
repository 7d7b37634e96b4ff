/** From PEM texts to sockets. The broker's name is checked against its certificate by the MQTT client. */
package org.edgeexperts.core

import java.io.ByteArrayInputStream
import java.security.GeneralSecurityException
import java.security.KeyFactory
import java.security.KeyStore
import java.security.PrivateKey
import java.security.cert.Certificate
import java.security.cert.CertificateFactory
import java.security.spec.InvalidKeySpecException
import java.security.spec.PKCS8EncodedKeySpec
import java.util.Base64
import javax.net.ssl.KeyManager
import javax.net.ssl.KeyManagerFactory
import javax.net.ssl.SSLContext
import javax.net.ssl.SSLSocketFactory
import javax.net.ssl.TrustManager
import javax.net.ssl.TrustManagerFactory

private val PKCS8 = Regex("-----BEGIN PRIVATE KEY-----(.*?)-----END PRIVATE KEY-----", RegexOption.DOT_MATCHES_ALL)
private val KEY_KINDS = listOf("RSA", "EC")

/**
 * Returns sockets that speak TLS with [identity].
 *
 * @throws ConfigException when a certificate or key cannot be used.
 */
internal fun socketFactory(identity: TlsIdentity): SSLSocketFactory {
    try {
        val context = SSLContext.getInstance("TLS")
        context.init(identity.keyManagers(), identity.trustManagers(), null)
        return context.socketFactory
    } catch (error: GeneralSecurityException) {
        throw ConfigException("cannot use the certificates given: ${error.message}", error)
    }
}

private fun TlsIdentity.trustManagers(): Array<TrustManager>? {
    val trusted = certificates(ca ?: return null, "the authority's certificate")
    val store = emptyStore()
    trusted.forEachIndexed { place, certificate -> store.setCertificateEntry("ca$place", certificate) }
    return TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm()).apply { init(store) }.trustManagers
}

private fun TlsIdentity.keyManagers(): Array<KeyManager>? {
    if (certificate == null && key == null) return null
    if (certificate == null || key == null) {
        throw ConfigException("a device's certificate and its key go together; one of them is missing")
    }
    val chain = certificates(certificate, "the device's certificate").toTypedArray()
    val store = emptyStore()
    val secret = CharArray(0) // the store never leaves memory
    store.setKeyEntry("device", privateKey(key), secret, chain)
    return KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm()).apply { init(store, secret) }.keyManagers
}

private fun emptyStore(): KeyStore = KeyStore.getInstance(KeyStore.getDefaultType()).apply { load(null, null) }

internal fun certificates(pem: String, what: String): List<Certificate> {
    val certificates = CertificateFactory.getInstance("X.509").generateCertificates(ByteArrayInputStream(pem.toByteArray()))
    if (certificates.isEmpty()) throw ConfigException("$what is no PEM text of a certificate")
    return certificates.toList()
}

internal fun privateKey(pem: String): PrivateKey {
    val text = PKCS8.find(pem)?.groupValues?.get(1) ?: throw ConfigException(
        "the device's key is no PKCS#8 PEM text (BEGIN PRIVATE KEY); convert it with: openssl pkcs8 -topk8 -nocrypt",
    )
    val spec = try {
        PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(text))
    } catch (error: IllegalArgumentException) {
        throw ConfigException("the device's key is damaged; enrol the device again", error)
    }
    for (kind in KEY_KINDS) {
        try {
            return KeyFactory.getInstance(kind).generatePrivate(spec)
        } catch (_: InvalidKeySpecException) {
            continue // of the other kind
        }
    }
    throw ConfigException("the device's key is neither ${KEY_KINDS.joinToString(" nor ")}; enrol the device again")
}
