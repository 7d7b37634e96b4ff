package org.edgeexperts.wire

import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class PackageFolderTest {
    private val outer = Files.createTempDirectory("package").toFile()
    private val folder = File(outer, "package").apply { mkdir() }

    @AfterTest
    fun removeFolder() {
        outer.deleteRecursively()
    }

    /** A real manifest of the vectors over files of a few bytes. */
    private fun write() {
        var text = Case.bytes("Manifest", "accept_small").decodeToString()
        val manifest = Manifest.fromJson(text.toByteArray())
        for ((name, entry) in manifest.files) {
            val data = "this is $name".toByteArray()
            File(folder, name).apply { parentFile.mkdirs() }.writeBytes(data)
            text = text.replace(entry.sha256, hex(sha256(data)))
            text = text.replace(Regex("\"bytes\": ${entry.bytes}(?=[^0-9])"), "\"bytes\": ${data.size}")
        }
        File(folder, MANIFEST).writeText(text)
    }

    private fun refusal(): String = assertFailsWith<PackageException> { PackageFolder.open(folder) }.message!!

    /** A whole package opens, and its digest is that of the manifest's bytes. */
    @Test
    fun aWholePackageOpens() {
        write()
        val package_ = PackageFolder.open(folder)
        assertContentEquals(sha256(File(folder, MANIFEST).readBytes()), package_.digest)
        assertEquals("this is program.pte", package_.path("program.pte").readText())
        assertFailsWith<PackageException> { package_.path("secret") }
    }

    /** One changed byte of the same length is found. */
    @Test
    fun aChangedFileIsRefused() {
        write()
        File(folder, "program.pte").writeText("This is program.pte")
        assertTrue("was changed" in refusal())
        File(folder, "program.pte").writeText("this is program")
        assertTrue("bytes, the manifest says" in refusal())
        File(folder, "program.pte").delete()
        assertTrue("is not there" in refusal())
    }

    /** The right bytes outside the folder may change after the check. */
    @Test
    fun aLinkOutOfThePackageIsRefused() {
        write()
        val outside = File(outer, "elsewhere").apply { writeText("this is program.pte") }
        File(folder, "program.pte").delete()
        Files.createSymbolicLink(File(folder, "program.pte").toPath(), outside.toPath())
        assertTrue("is no file inside the package" in refusal())
    }

    /** A folder that is none says so. */
    @Test
    fun aFolderWithoutManifestIsNoPackage() {
        assertTrue("is no device package" in refusal())
    }
}
