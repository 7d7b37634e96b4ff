package org.edgeexperts.core

import com.google.crypto.tink.subtle.Ed25519Sign
import org.edgeexperts.wire.Address
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.GatewayState
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.asField
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertEquals

private val GATEWAY = Address("home", Topic.GATEWAY)
private val PLAN = Address("home", Topic.PLAN, "me")

/** A key that signs as a gateway does. */
private class Signer {
    private val pair = Ed25519Sign.KeyPair.newKeyPair()
    val public: ByteArray = pair.publicKey

    fun sign(address: Address, payload: ByteArray, serial: Long): ByteArray {
        val number = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(serial).array()
        val numbered = payload + byteArrayOf(0xF1.toByte(), 1) + number
        val text = "edge-experts message 1\u0000$address\u0000".toByteArray() + numbered
        return numbered + byteArrayOf(0xFA.toByte(), 1, 64) + Ed25519Sign(pair.privateKey).sign(text)
    }
}

/** As tests/edge/federation/test_edge_trust.py: no forgery, no old message. */
class TrustTest {
    private val folder = Files.createTempDirectory("trust").toFile()
    private val store = Store(File(folder, "state"))
    private val gateway = Signer()

    @AfterTest
    fun removeFolder() {
        store.close()
        folder.deleteRecursively()
    }

    private fun state(online: Boolean = true, session: Byte = 1): ByteArray = GatewayState.newBuilder()
        .setWireVersion(WIRE_VERSION).setFederationDigest(ByteArray(32).asField()).setOnline(online)
        .setSession(ByteArray(16) { session }.asField()).build().toByteArray()

    private fun refuses(trust: Trust, address: Address, payload: ByteArray): Boolean = try {
        trust.check(address, payload)
        false
    } catch (error: WireException) {
        error.code == Code.BAD_SIGNATURE
    }

    /** Without a signature, with another's, and what was signed for another device. */
    @Test
    fun aMessageOfSomebodyElseIsRefused() {
        val trust = Trust(gateway.public, store)
        val forged = listOf(
            GATEWAY to state(),
            GATEWAY to Signer().sign(GATEWAY, state(), 1),
            PLAN to gateway.sign(Address("home", Topic.PLAN, "you"), state(), 1),
            Address("home", Topic.VERDICT, "me") to ByteArray(0),
        )
        assertEquals(List(4) { true }, forged.map { (address, payload) -> refuses(trust, address, payload) })
        assertEquals(false, refuses(trust, GATEWAY, gateway.sign(GATEWAY, state(), 1)))
    }

    /** The same message may come again, as a broker retains it; a serial is an unsigned number. */
    @Test
    fun anOldMessageIsRefusedAlsoAfterARestart() {
        val new = gateway.sign(PLAN, state(), -2)
        val old = gateway.sign(PLAN, state(), Long.MAX_VALUE)
        val before = Trust(gateway.public, store)
        assertEquals(listOf(false, true), listOf(new, old).map { refuses(before, PLAN, it) })
        val after = Trust(gateway.public, store)
        assertEquals(listOf(true, false), listOf(old, new).map { refuses(after, PLAN, it) })
        assertEquals(false, refuses(after, GATEWAY, gateway.sign(GATEWAY, state(), 3)))
        val other = Signer()
        assertEquals(false, refuses(Trust(other.public, store), PLAN, other.sign(PLAN, state(), 1)))
    }

    /** A gateway signs its will before all that it says; that of a session before is a replay. */
    @Test
    fun theWillOfTheKnownSessionIsTakenThoughItIsOld() {
        val trust = Trust(gateway.public, store)
        trust.check(GATEWAY, gateway.sign(GATEWAY, state(), 5))
        val said = listOf(state(online = false), state(online = false, session = 2), state())
        assertEquals(listOf(false, true, true), said.map { refuses(trust, GATEWAY, gateway.sign(GATEWAY, it, 4)) })
    }

    /** Nobody can sign that nothing is retained; a blob's name is its digest; without a key all is taken. */
    @Test
    fun whatIsNotSignedIsTakenWhereItMayBe() {
        val trust = Trust(gateway.public, store)
        assertEquals(false, refuses(trust, PLAN, ByteArray(0)))
        assertEquals(false, refuses(trust, Address("home", Topic.BLOB, "0".repeat(64)), ByteArray(9)))
        assertEquals(false, refuses(Trust(ByteArray(0), store), GATEWAY, state()))
    }
}
