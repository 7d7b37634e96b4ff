package org.edgeexperts.core

import com.google.crypto.tink.subtle.Ed25519Sign
import org.edgeexperts.wire.Case
import org.edgeexperts.wire.MANIFEST
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.SIGNATURE
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256
import java.io.ByteArrayInputStream
import java.io.File
import java.io.FileNotFoundException
import java.io.InputStream
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

class PackageStoreTest {
    private val folder = Files.createTempDirectory("packages").toFile()
    private val store = PackageStore(folder)

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    /** A package whose files hold [content] and their names, under a manifest of the shared vectors. */
    private fun files(content: String): MutableMap<String, ByteArray> {
        var text = Case.bytes("Manifest", "accept_small").decodeToString()
        val files = HashMap<String, ByteArray>()
        val sizes = HashMap<String, Int>()
        for ((name, entry) in Manifest.fromJson(text.toByteArray()).files) {
            files[name] = "$content of $name".toByteArray()
            sizes["\"bytes\": ${entry.bytes}"] = files.getValue(name).size
            text = text.replace(entry.sha256, hex(sha256(files.getValue(name))))
        }
        text = text.replace(Regex("\"bytes\": [0-9]+")) { "\"bytes\": ${sizes.getValue(it.value)}" }
        files[MANIFEST] = text.toByteArray()
        return files
    }

    private fun source(files: Map<String, ByteArray>) = PackageSource { name ->
        ByteArrayInputStream(files[name] ?: throw FileNotFoundException(name))
    }

    /** What was installed is there in the next process, without the gateway's part. */
    @Test
    fun anInstalledPackageIsCurrent() {
        val files = files("first")
        val installed = store.install(source(files), sha256(files.getValue(MANIFEST)))
        val current = assertNotNull(PackageStore(folder).current())
        assertContentEquals(installed.digest, current.digest)
        assertEquals("first of program.pte", current.path("program.pte").readText())
        assertTrue(!File(current.folder, "gateway").exists())
    }

    /** A changed, missing or endless file installs nothing, and the package in use stays. */
    @Test
    fun aBrokenPackageLeavesTheOldOne() {
        store.install(source(files("first")))
        val good = files("second")
        val broken = listOf<Pair<String, InputStream?>>(
            "was changed" to ByteArrayInputStream("second of program.ptX".toByteArray()),
            "has 0 bytes" to ByteArrayInputStream(ByteArray(0)),
            "the manifest says 21" to object : InputStream() {
                override fun read() = 1
            },
            "cannot be read" to null,
        )
        for ((expected, stream) in broken) {
            val source = PackageSource { name ->
                val bytes = if (name == "program.pte") stream else good[name]?.inputStream()
                bytes ?: throw FileNotFoundException(name)
            }
            assertTrue(expected in assertFailsWith<PackageException> { store.install(source) }.message!!)
            assertEquals("first of program.pte", store.current()!!.path("program.pte").readText())
        }
        store.install(source(good))
        assertEquals("second of program.pte", store.current()!!.path("program.pte").readText())
        assertEquals(2, folder.listFiles()!!.count(File::isDirectory))
        store.removeOthers()
        assertEquals(1, folder.listFiles()!!.count(File::isDirectory))
        assertNotNull(store.current())
    }

    /** An enrolment names the package it belongs to. */
    @Test
    fun anotherPackageThanExpectedIsRefused() {
        val error = assertFailsWith<PackageException> { store.install(source(files("first")), ByteArray(32)) }
        assertTrue("expected 000000000000" in error.message!!)
        assertNull(store.current())
    }

    /** Unsigned, and signed by somebody else; the signature is kept, so that an enrolment is held against it later. */
    @Test
    fun aPackageIsTakenFromItsMakerOnly() {
        val maker = Ed25519Sign.KeyPair.newKeyPair()
        val files = files("first")
        assertTrue("not signed" in assertFailsWith<PackageException> { store.install(source(files), maker = maker.publicKey) }.message!!)
        val text = "edge-experts package 1\u0000".toByteArray() + files.getValue(MANIFEST)
        files[SIGNATURE] = Ed25519Sign(maker.privateKey).sign(text)
        val other = Ed25519Sign.KeyPair.newKeyPair().publicKey
        assertTrue("not signed by" in assertFailsWith<PackageException> { store.install(source(files), maker = other) }.message!!)
        assertNull(store.current())
        store.install(source(files), maker = maker.publicKey)
        store.current()!!.verify(maker.publicKey)
        assertFailsWith<PackageException> { store.current()!!.verify(other) }
        store.install(source(files("second")))
        assertTrue("not signed" in assertFailsWith<PackageException> { store.current()!!.verify(maker.publicKey) }.message!!)
    }

    /** A file that rots on the flash is noticed when the package is opened, and installing again repairs it. */
    @Test
    fun aDamagedPackageIsInstalledAgain() {
        val files = files("first")
        store.install(source(files)).path("program.pte").writeText("first of program.ptX")
        assertNull(store.current())
        store.install(source(files))
        assertEquals("first of program.pte", store.current()!!.path("program.pte").readText())
    }

    /** What has no manifest is no package. */
    @Test
    fun aPackageHasAManifest() {
        assertTrue("no device package" in assertFailsWith<PackageException> { store.install(source(emptyMap())) }.message!!)
    }
}
