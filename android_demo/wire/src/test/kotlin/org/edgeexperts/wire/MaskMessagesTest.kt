package org.edgeexperts.wire

import com.google.protobuf.MessageLite
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import org.edgeexperts.wire.secure.placesOf
import org.edgeexperts.wire.secure.readMembers

/** What a gateway tells of a round under masks is refused where edge_runtime/wire/mask_checks.py refuses it. */
class MaskMessagesTest {
    private val digest = ByteArray(32) { 1 }.asField()

    private fun round() = MaskRound.newBuilder().setWireVersion(1).setDevice("me").setPlanDigest(digest).setMembers(digest)

    private fun key(circle: Int) = CircleKey.newBuilder().setCircle(circle).setKey(digest)

    private fun member(vararg circles: Int) =
        MaskMember.newBuilder().setDigest(digest).setSharing(digest).addAllMasking(circles.map { key(it).build() })

    private fun circle(number: Int) =
        MaskCircle.newBuilder().setNumber(number).setNeighbours(2).setThreshold(2).setLeast(3).setBits(12)

    private fun members() = MaskMembers.newBuilder().setWireVersion(1).addMembers(member(0)).addCircles(circle(0))

    private fun share(place: Int) = SealedShares.newBuilder().setPlace(place)

    private fun dealt() = MaskDealt.newBuilder().setWireVersion(1).setMembers(digest).setDealt(ByteArray(1).asField())

    private fun survivors() = MaskSurvivors.newBuilder().setWireVersion(1).setMembers(digest)
        .setDealt(ByteArray(1).asField()).setSurvivors(ByteArray(1).asField())

    private fun refused(kind: MessageKind<*>, reason: String, message: MessageLite.Builder, code: Code = Code.MALFORMED) {
        val error = assertFailsWith<WireException>(reason) { kind.decode(message.build().toByteArray()) }
        assertEquals(code, error.code)
        assertTrue(reason in error.detail, "expected '$reason', got '${error.detail}'")
    }

    /** Whole messages pass; each change of one field is refused with its reason. */
    @Test
    fun eachFieldIsChecked() {
        val short = ByteArray(31).asField()
        MessageKind.MASK_ROUND.decode(round().setDealt(digest).setSurvivors(digest).build().toByteArray())
        refused(MessageKind.MASK_ROUND, "device", round().setDevice("a/b"))
        refused(MessageKind.MASK_ROUND, "plan digest", round().setPlanDigest(short))
        refused(MessageKind.MASK_ROUND, "list of members", round().clearMembers())
        refused(MessageKind.MASK_ROUND, "digest of dealt", round().setDealt(short))
        refused(MessageKind.MASK_ROUND, "nobody dealt", round().setSurvivors(digest))
        MessageKind.MASK_MEMBERS.decode(members().build().toByteArray())
        refused(MessageKind.MASK_MEMBERS, "without members", members().clearMembers())
        refused(MessageKind.MASK_MEMBERS, "without circles", members().clearCircles())
        refused(MessageKind.MASK_MEMBERS, "not ascending", members().addCircles(circle(0)))
        refused(MessageKind.MASK_MEMBERS, "a ring of 7 bits", members().setCircles(0, circle(0).setBits(7)))
        refused(MessageKind.MASK_MEMBERS, "names 4294967295 members", members().setCircles(0, circle(0).setLeast(-1)))
        refused(MessageKind.MASK_MEMBERS, "digest of keys", members().setMembers(0, member(0).setDigest(short)))
        refused(MessageKind.MASK_MEMBERS, "a public key", members().setMembers(0, member(0).setSharing(short)))
        refused(MessageKind.MASK_MEMBERS, "not listed", members().setMembers(0, member(0, 1)))
        refused(MessageKind.MASK_MEMBERS, "no masking keys", members().setMembers(0, member()))
        val crowd = members().addAllMembers(List(4096) { member(0).build() })
        refused(MessageKind.MASK_MEMBERS, "4097 members", crowd, Code.TOO_LARGE)
        MessageKind.MASK_DEALT.decode(dealt().addShares(share(4095)).build().toByteArray())
        refused(MessageKind.MASK_DEALT, "bits of who dealt", dealt().clearDealt())
        refused(MessageKind.MASK_DEALT, "bits of who dealt", dealt().setDealt(ByteArray(513).asField()))
        refused(MessageKind.MASK_DEALT, "not ascending", dealt().addShares(share(1)).addShares(share(1)))
        refused(MessageKind.MASK_DEALT, "a place above 4095", dealt().addShares(share(4096)))
        MessageKind.MASK_SURVIVORS.decode(survivors().build().toByteArray())
        refused(MessageKind.MASK_SURVIVORS, "bits of survivors", survivors().clearSurvivors())
    }

    /** Places are the bits that are set; bits behind the last member, and other sizes, are none. */
    @Test
    fun bitsArePlaces() {
        assertEquals(setOf(0, 7, 9), placesOf(byteArrayOf(0x81.toByte(), 2), 10))
        for (bits in listOf(byteArrayOf(0, 4), byteArrayOf(0), ByteArray(3))) {
            assertFailsWith<SecureException> { placesOf(bits, 10) }
        }
    }

    /** One member, and two with one key: a list like that hides nothing. */
    @Test
    fun aListIsCheckedAsItIsRead() {
        assertFailsWith<SecureException> { readMembers(members().build().toByteArray()) }
        val twice = members().addMembers(member(0)).addMembers(member(0))
        assertFailsWith<SecureException> { readMembers(twice.build().toByteArray()) }
    }
}
