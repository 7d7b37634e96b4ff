package org.edgeexperts.core

import org.edgeexperts.wire.MaskKeys
import org.edgeexperts.wire.MaskMembers
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.secure.FederationScope
import org.edgeexperts.wire.secure.KeySigner
import java.security.cert.X509Certificate
import java.util.Date

/**
 * Signs a device's keys for masks with the key of its certificate, and checks those of others.
 *
 * @param signer null: it cannot, as [fault] says.
 * @property fault why this device takes part in no round under masks, for people; "": it can.
 * @param scope federation that it takes part in.
 */
internal class MaskSigner private constructor(
    private val signer: KeySigner?,
    val fault: String,
    private val scope: FederationScope,
) {
    private val working get() = signer ?: throw SecureException(fault)

    /** Returns [keys], with their round, signed. */
    fun sign(keys: MaskKeys): MaskKeys = working.sign(keys, scope)

    /**
     * Refuses a list of which not every member signed its keys, with a certificate that holds now.
     *
     * @throws SecureException saying what is wrong.
     * @throws org.edgeexperts.wire.WireException when a member's keys are none.
     */
    fun checkList(listed: MaskMembers) {
        working.authority.checkList(listed, scope, Date())
    }

    companion object {
        /**
         * Returns what signs with a device's certificate; null where it has none.
         *
         * @throws ConfigException when a certificate or key cannot be read.
         */
        fun of(identity: TlsIdentity, scope: FederationScope): MaskSigner? {
            val (certificate, key) = (identity.certificate ?: return null) to (identity.key ?: return null)
            val chain = certificates(certificate, "the device's certificate").map { it as X509Certificate }
            val known = identity.ca?.let { certificates(it, "the authority's certificate") }.orEmpty().map { it as X509Certificate }
            val private = privateKey(key)
            return try {
                val signer = KeySigner(chain[0], private, known + chain.drop(1))
                if (private.algorithm != "EC") throw SecureException("the key of this device's certificate is of another kind than its certificate's")
                MaskSigner(signer, "", scope)
            } catch (error: SecureException) {
                MaskSigner(null, error.message.orEmpty(), scope)
            }
        }
    }
}
