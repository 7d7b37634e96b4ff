package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.Block
import org.edgeexperts.wire.Codec
import org.edgeexperts.wire.Update
import org.edgeexperts.wire.Version
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.applyUpdate
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256
import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNotNull
import kotlin.test.assertTrue

/** Versions that come as updates of a block that is here: one expert of 9 values, 36 bytes, an update of it 13. */
class UpdatesTest {
    private val folder = Files.createTempDirectory("updates").toFile()
    private val toy = writeToy(File(folder, "package"))
    private val store = Store(File(folder, "state"))
    private val versions = Versions(store, toy)
    private val blobs = HashMap<String, ByteArray>()
    private val listed = ArrayDeque<Update>()
    private var bank = toyBank()
    private var number = 0L

    @AfterTest
    fun close() {
        store.close()
        folder.deleteRecursively()
    }

    private fun keep(data: ByteArray): ByteArray = sha256(data).also { blobs[hex(it)] = data }

    /** Moves the expert a step; [lie]: by other bytes than the version lists. */
    private fun step(lie: ByteArray? = null) {
        number++
        val base = bank.block(TOY_EXPERT)
        val update = encodeValues(FloatArray(base.size) { (it + number) / 7f }, Codec.INT8_VALUE)
        val values = applyUpdate(base, update)
        bank = bank.replace(mapOf(TOY_EXPERT to values))
        keep(encodeValues(values))
        val digest = keep(lie ?: update)
        listed.addFirst(
            Update.newBuilder().setBase(sha256(encodeValues(base)).asField()).setDigest(digest.asField()).build(),
        )
    }

    /** Announces the newest version; returns its message. */
    private fun announce(): Version {
        val blocks = bank.digests().toSortedMap().map { (id, digest) ->
            val block = Block.newBuilder().setLayer(id.layer).setIndex(id.index).setDigest(digest.asField())
            if (id == TOY_EXPERT) block.addAllUpdates(listed.take(3))
            block.build()
        }
        val federation = toy.manifest.architecture.digest().asField()
        return versions.announce(
            Version.newBuilder().setWireVersion(WIRE_VERSION).setFederationDigest(federation).setVersion(number)
                .setDigest(bank.digest().asField()).addAllBlocks(blocks).build().toByteArray(),
        )
    }

    /** Fetches what is wanted until nothing is; returns the bytes of each blob that came. */
    private fun fetch(version: Version): List<Int> = generateSequence { versions.wanted(version).firstOrNull() }
        .map { digest -> blobs.getValue(digest).also { versions.keep(fromHex(digest), it) }.size }.take(9).toList()

    private fun taken(version: Version): Bank {
        assertEquals(emptyList(), versions.missing(version))
        assertTrue(versions.adoptNewest(emptyList()))
        return assertNotNull(versions.bank(version)).also { assertContentEquals(bank.digest(), it.digest()) }
    }

    /** From the package's own block, then from the version's; the updates are not kept. */
    @Test
    fun aDeviceThatHasTheVersionBeforeFetchesTheUpdateOnly() = repeat(2) {
        step()
        val version = announce()
        assertEquals(listOf(13), fetch(version))
        taken(version)
        assertEquals(listOf(hex(bank.digests().getValue(TOY_EXPERT))), File(folder, "state/blobs").list()?.toList())
    }

    /** Two updates are 26 bytes, three 39: a device that is three behind fetches the block. */
    @Test
    fun aDeviceThatWasAwayFetchesWhatIsCheaper() {
        repeat(2) { step() }
        val second = announce()
        assertEquals(listOf(13, 13), fetch(second))
        taken(second)
        repeat(3) { step() }
        val fifth = announce()
        assertEquals(listOf(36), fetch(fifth))
        taken(fifth)
    }

    /** Another sum, and the byte -128: only the block's digest tells, and the block comes whole, once. */
    @Test
    fun aWrongUpdateCostsThatUpdate() {
        for (wrong in listOf(ByteArray(13) { 1 }, ByteArray(13) { -128 }, ByteArray(3))) {
            step(lie = wrong)
            val version = announce()
            assertEquals(listOf(wrong.size, 36), fetch(version))
            taken(version)
            listed.clear()
        }
    }

    /** The gateway has lost the update: after some requests in vain the block is asked for. */
    @Test
    fun anUpdateThatDoesNotComeIsGivenUp() {
        step()
        val version = announce()
        val update = hex(listed.first().digest.toByteArray())
        repeat(PATIENCE) {
            assertEquals(listOf(update), versions.wanted(version))
            versions.unanswered()
        }
        assertEquals(listOf(36), fetch(version))
        taken(version)
    }

    /** The base's bytes are others when the update is applied. */
    @Test
    fun aDamagedBaseMakesItsBlockComeWhole() {
        step()
        fetch(announce())
        assertTrue(versions.adoptNewest(emptyList()))
        step()
        val version = announce()
        File(folder, "state/blobs").listFiles()?.single()?.writeBytes(byteArrayOf(1, 2, 3, 4))
        assertEquals(listOf(13, 36), fetch(version))
        taken(version)
    }
}
