/** Replays cases of sums under masks; edge_runtime/wire/vectors/decide_secure.py has the same table. */
package org.edgeexperts.wire

import java.io.ByteArrayInputStream
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import java.util.Date
import org.edgeexperts.wire.secure.Attendance
import org.edgeexperts.wire.secure.Circle
import org.edgeexperts.wire.secure.FederationScope
import org.edgeexperts.wire.secure.KeyAuthority
import org.edgeexperts.wire.secure.Member
import org.edgeexperts.wire.secure.MemberKeys
import org.edgeexperts.wire.secure.MemberList
import org.edgeexperts.wire.secure.Ring
import org.edgeexperts.wire.secure.Scale
import org.edgeexperts.wire.secure.agree
import org.edgeexperts.wire.secure.checkSizes
import org.edgeexperts.wire.secure.inOrder
import org.edgeexperts.wire.secure.neighboursOf
import org.edgeexperts.wire.secure.publicKey
import org.edgeexperts.wire.secure.split

private val MEMBER_KEYS = arrayOf(
    "context", "root", "place", "keys", "circles", "bits", "values", "dealt", "survivors", "roots",
)

internal val SECURE_RULES: Map<String, Rule> = mapOf(
    "Agreement" to Rule { data, _ ->
        val private = data.copyOf(32)
        val secret = agree(private, data.copyOfRange(32, data.size))
        mapOf("secret" to hex(secret), "public" to hex(publicKey(private)))
    },
    "Shares" to Rule("holders") { data, context ->
        val numbers = inPieces(data)
        mapOf("shares" to split(numbers[0], numbers.drop(1), context.ints("holders")).map(::hex))
    },
    "Mask" to Rule("bits", "count", "negative") { data, context ->
        val ring = Ring(context.int("bits"))
        val words = IntArray(context.int("count")) { it }
        ring.addMask(words, data, negative = context.any("negative") as Boolean)
        mapOf("values" to words.map(ring::unsigned))
    },
    "Packed" to Rule("bits") { data, context ->
        val buffer = little(data)
        mapOf("hex" to hex(Ring(context.int("bits")).pack(IntArray(data.size / 8) { buffer.getLong().toInt() })))
    },
    "Neighbours" to Rule("members", "neighbours", "threshold") { _, context ->
        val (members, count) = context.int("members") to context.int("neighbours")
        checkSizes(members, count, context.int("threshold"))
        mapOf("neighbours" to (0 until members).map { neighboursOf(it, members, count).map(Int::toLong) })
    },
    "MemberOrder" to Rule { data, _ -> mapOf("order" to inOrder(inPieces(data)).map(::hex)) },
    "Integers" to Rule("step", "limit", "weight", "most_weight") { data, context ->
        val step = context.any("step") as Double
        val scale = Scale(step, context.int("limit"), context.int("weight"), context.int("most_weight"))
        val made = scale.integers(floats(data))
        mapOf("integers" to made.integers.map(Int::toLong), "left" to made.left.map(Float::toDouble))
    },
    "SecureMember" to Rule(*MEMBER_KEYS) { _, context -> member(context) },
    "SignedKeys" to Rule("authority", "federation", "federation_digest", "at") { data, context ->
        val issuer = ByteArrayInputStream(context.bytes("authority"))
        val authority = CertificateFactory.getInstance("X.509").generateCertificate(issuer) as X509Certificate
        val scope = FederationScope(context.any("federation") as String, context.bytes("federation_digest"))
        val listed = MaskMembers.parseFrom(data)
        mapOf("devices" to KeyAuthority(authority).checkList(listed, scope, Date(1000 * context.long("at"))))
    },
)

private fun Context.ints(name: String) = (any(name) as List<*>).map { (it as Long).toInt() }

private fun Context.bytes(name: String) = unhex(any(name) as String)

private fun Context.maps(name: String) = (any(name) as List<*>).map { it as Context }

private fun inPieces(data: ByteArray) = data.indices.step(32).map { data.copyOfRange(it, it + 32) }

private fun keysOf(told: Context) = MemberKeys(
    told.bytes("digest"),
    told.bytes("sharing"),
    (told.any("masking") as Context).entries.associate { (number, key) ->
        (number as String).toInt() to unhex(key as String)
    },
)

private fun member(context: Context): Map<String, Any?> {
    val circles = context.maps("circles").mapIndexed { number, told ->
        number to Circle(
            number, told.ints("places"), told.int("neighbours"), told.int("threshold"), told.int("least"),
            context.int("bits"),
        )
    }.toMap()
    val members = MemberList(context.bytes("context"), context.maps("keys").map(::keysOf), circles)
    val place = context.int("place")
    val device = Member(context.bytes("root"), members, place)
    val dealt = context.ints("dealt").toSet()
    val roots = (context.any("roots") as List<*>).map { unhex(it as String) }
    val inbox = (dealt - place).associateWith { Member(roots[it], members, it).dealt()[place] ?: ByteArray(0) }
    val answer = device.answer(device.opened(inbox), Attendance(dealt, context.ints("survivors").toSet()))
    val ring = Ring(context.int("bits"))
    return mapOf(
        "dealt" to device.dealt().entries.associate { (other, sealed) -> "$other" to hex(sealed) },
        "masked" to members.circlesOf(place).associate { circle ->
            val words = device.masked(circle.number, context.ints("values").toIntArray(), dealt)
            "${circle.number}" to words.map(ring::unsigned)
        },
        "answer" to answer.entries.sortedWith(compareBy({ it.key.circle }, { it.key.place }))
            .map { (secret, share) -> listOf(secret.circle.toLong(), secret.place.toLong(), hex(share)) },
    )
}
