package org.edgeexperts.core

import org.edgeexperts.wire.NamedTensor
import org.edgeexperts.wire.sha256
import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

class StoreTest {
    private val folder = Files.createTempDirectory("store").toFile()

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    /** A record comes back as it was written, also after the store was closed. */
    @Test
    fun recordsSurviveTheProcess() {
        val head = mapOf("round" to 7L, "plan" to "ab", "step_ms" to 1.5, "plans" to listOf("x", "y"))
        Store(folder).use { it.write("delta", Record(head, byteArrayOf(1, 2, 3))) }
        Store(folder).use {
            val record = assertNotNull(it.read("delta"))
            assertEquals<Map<String, Any?>>(head, record.head)
            assertContentEquals(byteArrayOf(1, 2, 3), record.body)
            it.remove("delta")
            assertNull(it.read("delta"))
        }
    }

    /** One flipped bit anywhere is found; a record that is recalled is then gone, so that it is made anew. */
    @Test
    fun damagedRecordsAreRefused() {
        Store(folder).use { store ->
            store.write("plan", Record(mapOf("a" to 1L), byteArrayOf(9)))
            val path = File(folder, "plan")
            val whole = path.readBytes()
            for (place in whole.indices) {
                path.writeBytes(whole.copyOf().also { it[place] = (it[place].toInt() xor 1).toByte() })
                assertFailsWith<DamagedException> { store.read("plan") }
            }
            path.writeBytes(whole.copyOf(20))
            assertNull(store.recall("plan"))
            assertFalse(path.exists())
        }
    }

    /** Arrays travel in a record's body. */
    @Test
    fun tensorsSurviveTheirRecord() {
        val tensors = mapOf("m" to NamedTensor.of(floatArrayOf(1f, -2f, 3f, 4f), listOf(2, 2)), "v" to NamedTensor.of(FloatArray(0)))
        Store(folder).use { store ->
            store.write("checkpoint", Record.of(mapOf("step" to 3L), tensors))
            val read = store.read("checkpoint")!!.tensors()
            assertEquals(listOf(2L, 2L), read.getValue("m").shape)
            assertContentEquals(floatArrayOf(1f, -2f, 3f, 4f), read.getValue("m").floats())
            assertEquals(setOf("m", "v"), read.keys)
        }
        assertFailsWith<DamagedException> { Record(body = byteArrayOf(1, 2)).tensors() }
    }

    /** A blob is what its name says, or it is not there. */
    @Test
    fun blobsAreCheckedOnEveryRead() {
        val data = byteArrayOf(5, 6, 7)
        val digest = sha256(data)
        Store(folder).use { store ->
            assertFailsWith<DamagedException> { store.putBlob(digest, byteArrayOf(5, 6)) }
            store.putBlob(digest, data)
            assertTrue(store.hasBlob(digest))
            assertContentEquals(data, store.blob(digest))
            File(folder, "blobs").listFiles()!!.single().writeBytes(byteArrayOf(5, 6, 8))
            assertNull(store.blob(digest))
            assertFalse(store.hasBlob(digest))
        }
    }

    /** Versions and blobs that nobody names any more go. */
    @Test
    fun onlyWhatIsNamedIsKept() {
        val (first, second) = listOf(byteArrayOf(1), byteArrayOf(2)).map { sha256(it) to it }
        Store(folder).use { store ->
            for ((digest, data) in listOf(first, second)) {
                store.putVersion(digest, data)
                store.putBlob(digest, data)
            }
            store.keepOnly(listOf(first.first), listOf(second.first))
            assertContentEquals(first.second, store.version(first.first))
            assertNull(store.version(second.first))
            assertNull(store.blob(first.first))
            assertContentEquals(second.second, store.blob(second.first))
        }
    }

    /** Two workers in one folder would write over each other. */
    @Test
    fun aFolderIsUsedOnce() {
        Store(folder).use { assertFailsWith<StoreException> { Store(folder) } }
        Store(folder).close()
    }

    /** What a kill left half written is swept away, and never read. */
    @Test
    fun halfWrittenFilesAreSwept() {
        Store(folder).close()
        val left = File(folder, ".delta.new").apply { writeText("half") }
        Store(folder).use { assertNull(it.read("delta")) }
        assertFalse(left.exists())
    }

    /** A path that is no folder is refused with its name. */
    @Test
    fun aStoreNeedsAFolder() {
        val file = File(folder, "file").apply { writeText("x") }
        assertTrue(file.path in assertFailsWith<StoreException> { Store(file) }.message!!)
    }

    /** The layout is the one that the Python device writes: a record by hand. */
    @Test
    fun theLayoutIsKnown() {
        Store(folder).use { it.write("done", Record(mapOf("plans" to listOf("ab")), byteArrayOf(1))) }
        val head = """{"plans":["ab"]}""".toByteArray()
        val sealed = byteArrayOf(head.size.toByte(), 0, 0, 0) + head + byteArrayOf(1)
        assertContentEquals("edgest01".toByteArray() + sha256(sealed) + sealed, File(folder, "done").readBytes())
    }
}
