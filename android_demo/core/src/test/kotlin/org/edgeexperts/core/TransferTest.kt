package org.edgeexperts.core

import org.edgeexperts.wire.CHUNK_PAYLOAD
import org.edgeexperts.wire.Kind
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.missingBytes
import org.edgeexperts.wire.missingChunks
import org.edgeexperts.wire.sha256
import org.edgeexperts.wire.split
import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Bodies go up in the chunks that are asked for; pieces of blobs outlive a restart. */
class TransferTest {
    private val folder = Files.createTempDirectory("transfer").toFile()

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    private fun indexes(chunks: Sequence<ByteArray>) = chunks.map { MessageKind.CHUNK.decode(it).index }.toList()

    /** Chunks that were asked for and are not on their way yet are not sent twice. */
    @Test
    fun aNewRequestTakesThePlaceOfTheOneBefore() {
        val upload = Upload("me", Kind.DELTA, ByteArray(5 * CHUNK_PAYLOAD - 7))
        val offer = MessageKind.OFFER.decode(upload.offer())
        assertEquals(listOf("me", Kind.DELTA, 5, 5L * CHUNK_PAYLOAD - 7), offer.run { listOf(device, kind, count, total) })
        val first = upload.asked(ByteArray(0)).iterator()
        assertEquals(listOf(0, 1), indexes(sequenceOf(first.next(), first.next())))
        val second = upload.asked(missingBytes(listOf(1, 4), 5))
        assertTrue(!first.hasNext())
        assertEquals(listOf(1, 4), indexes(second))
        val third = upload.asked(ByteArray(0)).iterator()
        assertEquals(listOf(0), indexes(sequenceOf(third.next())))
        upload.stop()
        assertTrue(!third.hasNext())
        assertFailsWith<WireException> { upload.asked(byteArrayOf(32)) } // chunk 5 of five
    }

    private val blob = encodeValues(FloatArray(TOY_SHAPE.expertSize) { 2f })
    private val name = hex(sha256(blob))
    private val pieces = split(blob, Kind.BLOB, (blob.size + 4) / 5).toList()

    private fun fetcher(store: Store, link: FakeLink): Fetcher {
        val toy = writeToy(File(folder, "package"))
        return Fetcher(Versions(store, toy), link, "me", TOY_SHAPE, PieceFiles(store.pieces))
    }

    /** Three of five pieces came: the other two are asked for, then the blob is whole and its pieces go. */
    @Test
    fun piecesOfABlobOutliveARestart() = Store(File(folder, "state")).use { store ->
        val before = fetcher(store, FakeLink())
        before.ask(listOf(name))
        for (index in listOf(4, 0, 2)) assertTrue(before.take(name, pieces[index]))
        before.save()
        val link = FakeLink()
        val after = fetcher(store, link)
        after.ask(listOf(name))
        val want = MessageKind.WANT.decode(link.wants.single())
        assertEquals(listOf(1, 3), missingChunks(want.missingList.single().toByteArray(), pieces.size))
        for (index in listOf(1, 3)) after.take(name, pieces[index])
        assertContentEquals(blob, store.blob(sha256(blob)))
        assertEquals(0, store.pieces.list()!!.size)
    }

    /** Those behind a damaged byte go, those before it are taken; pieces of what nobody wants go, and those cut otherwise. */
    @Test
    fun piecesOfNoUseGo() = Store(File(folder, "state")).use { store ->
        val before = fetcher(store, FakeLink())
        before.ask(listOf(name))
        for (index in 0..2) before.take(name, pieces[index])
        before.save()
        val file = store.pieces.listFiles()!!.single()
        file.writeBytes(file.readBytes().also { it[it.size - 1] = (it.last() + 1).toByte() })
        val link = FakeLink()
        val after = fetcher(store, link)
        after.ask(listOf(name))
        val want = MessageKind.WANT.decode(link.wants.single())
        assertEquals(listOf(2, 3, 4), missingChunks(want.missingList.single().toByteArray(), pieces.size))
        split(blob, Kind.BLOB, (blob.size + 1) / 2).forEach { after.take(name, it) }
        assertContentEquals(blob, store.blob(sha256(blob)))
        val last = fetcher(store, FakeLink())
        last.ask(listOf(name))
        last.take(name, pieces[0])
        last.save()
        last.ask(listOf("00".repeat(32)))
        assertEquals(0, store.pieces.list()!!.size)
    }

    /** Somebody wrote other bytes: the whole does not have the digest, and is fetched anew. */
    @Test
    fun piecesThatLieCostTheBlobItsPieces() = Store(File(folder, "state")).use { store ->
        val fetcher = fetcher(store, FakeLink())
        fetcher.ask(listOf(name))
        val honest = MessageKind.CHUNK.decode(pieces[0])
        val lie = honest.toBuilder().setPayload(ByteArray(honest.payload.size()).asField())
        fetcher.take(name, lie.build().toByteArray())
        fetcher.save()
        for (index in 1..3) fetcher.take(name, pieces[index])
        assertFailsWith<WireException> { fetcher.take(name, pieces[4]) }
        assertEquals(0, store.pieces.list()!!.size)
        pieces.forEach { fetcher.take(name, it) }
        assertContentEquals(blob, store.blob(sha256(blob)))
    }
}
