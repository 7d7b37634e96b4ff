package org.edgeexperts.core

import org.edgeexperts.wire.Address
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Topic
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.verifyMessage

private const val TRUST = "trust"
private val SIGNED = setOf(Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT, Topic.SECURE)

/**
 * What a device takes as its gateway's word: signed with the gateway's key, and no older than what came before it; as
 * edge_runtime/federation/trust.py. So whoever holds the broker can stay silent, and can say nothing else.
 *
 * @param key the gateway's public key, 32 bytes; empty takes what is not signed.
 * @param store remembers the highest serial of each topic, so that a restart does not let old messages in again.
 */
internal class Trust(private val key: ByteArray, private val store: Store) {
    private val serials = HashMap<String, Long>()
    private var session = ""

    init {
        val mine = store.recall(TRUST)?.head?.takeIf { it["key"] == hex(key) }.orEmpty()
        (mine["serials"] as? Map<*, *>)?.forEach { (topic, serial) -> serials["$topic"] = "$serial".toULong().toLong() }
        session = "${mine["session"] ?: ""}"
    }

    /**
     * Checks a message before it is used.
     *
     * @param payload as it came. An empty one deletes what a broker retained; nobody can sign that.
     * @throws WireException BAD_SIGNATURE when it is not the gateway's, or older than one that came before.
     */
    fun check(address: Address, payload: ByteArray) {
        val topic = address.topic
        if (key.isEmpty() || topic !in SIGNED || (topic.retained && payload.isEmpty())) return
        val serial = verifyMessage(key, address.toString(), payload)
        val newest = serials[topic.word] ?: 0
        val state = if (topic == Topic.GATEWAY) MessageKind.GATEWAY_STATE.decode(payload) else null
        val from = state?.let { hex(it.session.toByteArray()) } ?: session
        // The gateway's will, which it signed before all that it said.
        if (state != null && !state.online && from == session) return
        if (serial.toULong() < newest.toULong()) {
            throw WireException(Code.BAD_SIGNATURE, "an old message of the gateway, which somebody sent again")
        }
        session = from
        if (serial == newest) return
        serials[topic.word] = serial
        val told = serials.mapValues { it.value.toULong().toString() }
        store.write(TRUST, Record(mapOf("key" to hex(key), "serials" to told, "session" to session)))
    }
}
