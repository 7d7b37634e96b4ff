/** Lists of a round under masks between bytes and values: members, and sets of them as bits by place. */
package org.edgeexperts.wire.secure

import com.google.protobuf.ByteString
import org.edgeexperts.wire.CircleKey
import org.edgeexperts.wire.MaskMember
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.SealedShares
import org.edgeexperts.wire.SecureException
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.sha256

/**
 * Returns the list of a round, checked.
 *
 * @param data of its MaskMembers.
 * @throws org.edgeexperts.wire.WireException when the bytes are none.
 * @throws SecureException for a list that is not safe. Whose signatures stand in it is for [KeyAuthority] to check.
 */
public fun readMembers(data: ByteArray): MemberList {
    val message = MessageKind.MASK_MEMBERS.decode(data)
    val numbers = message.circlesList.map { it.number }.toSet()
    val keys = message.membersList.map { keysOf(it, numbers) }
    val circles = message.circlesList.associate { one ->
        val places = keys.indices.filter { one.number in keys[it].masking }
        one.number to Circle(one.number, places, one.neighbours, one.threshold, one.least, one.bits)
    }
    return MemberList(sha256(data), keys, circles).also(MemberList::check)
}

/** Returns a member's keys for [circles]: as they are listed, or out of what it signed and sent. */
private fun keysOf(member: MaskMember, circles: Set<Int>): MemberKeys {
    if (member.keys.isEmpty) return memberKeys(member.digest.toByteArray(), member.sharing, member.maskingList)
    val sent = member.keys.toByteArray()
    val keys = MessageKind.MASK_KEYS.decode(sent)
    if (keys.signature.isEmpty) throw SecureException("a member's keys stand in the list as it sent them, and are not signed")
    return memberKeys(sha256(sent), keys.sharing, keys.maskingList.filter { it.circle in circles })
}

private fun memberKeys(digest: ByteArray, sharing: ByteString, masking: List<CircleKey>) =
    MemberKeys(digest, sharing.toByteArray(), masking.associate { it.circle to it.key.toByteArray() })

/**
 * Returns the places of a set of members.
 *
 * @param bits by place, the lowest of a byte first.
 * @param count of the list's members.
 * @throws SecureException for another size than such a list has, or bits behind it.
 */
public fun placesOf(bits: ByteArray, count: Int): Set<Int> {
    val places = (0 until 8 * bits.size).filter { bits[it / 8].toInt() shr it % 8 and 1 == 1 }.toSet()
    if (bits.size != (count + 7) / 8 || places.any { it >= count }) {
        throw SecureException("${bits.size} bytes do not say who of $count members is meant")
    }
    return places
}

/** Returns sealed [shares], by place, as messages have them. */
public fun sealed(shares: Map<Int, ByteArray>): List<SealedShares> = shares.toSortedMap().map { (place, data) ->
    SealedShares.newBuilder().setPlace(place).setData(data.asField()).build()
}
