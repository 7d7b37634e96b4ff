package org.edgeexperts.core

import org.edgeexperts.wire.FileEntry
import org.edgeexperts.wire.JSON_LIMIT
import org.edgeexperts.wire.MANIFEST
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.SIGNATURE
import org.edgeexperts.wire.SIGNATURE_BYTES
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.readLimited
import org.edgeexperts.wire.sha256
import org.edgeexperts.wire.verifyManifest
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream

/** Where a package comes from: an app's assets, a folder, an unpacked download. */
public fun interface PackageSource {
    /**
     * Opens a file of the package by its path inside it.
     *
     * @throws IOException when there is none.
     */
    public fun open(name: String): InputStream
}

private const val STAGING = "staging"
private const val CURRENT = "current"

/**
 * Device packages on this device, each in a folder named by its digest. A package is copied and checked beside, then
 * renamed: there is a whole one or none, and the one in use stays until the new one is.
 *
 * @param folder made when it is not there.
 */
public class PackageStore(private val folder: File) {
    /**
     * Copies a package and makes it the current one.
     *
     * @param expected digest of its manifest, where the enrolment names one.
     * @param maker public key that must have signed it, where the enrolment names one.
     * @throws PackageException when it is not what it says or what was expected.
     * @throws StoreException when the disk refuses.
     */
    public fun install(source: PackageSource, expected: ByteArray? = null, maker: ByteArray? = null): PackageFolder {
        val data = readManifest(source)
        val digest = sha256(data)
        if (expected != null && !digest.contentEquals(expected)) {
            val (came, wanted) = hex(digest).take(12) to hex(expected).take(12)
            throw PackageException("the package has the digest $came…, expected $wanted…; ask for the right package")
        }
        val signature = readSignature(source)
        if (maker != null) verifyManifest(maker, data, signature ?: throw PackageException("the package is not signed"))
        val place = File(folder, hex(digest))
        val opened = whole(place) ?: copy(source, data, place)
        if (signature != null) replaceFile(File(place, SIGNATURE), signature)
        replaceFile(File(folder, CURRENT), hex(digest).toByteArray())
        return opened
    }

    /** Opens the current package; null when there is none, or it was damaged and has to be installed again. */
    public fun current(): PackageFolder? {
        val name = File(folder, CURRENT).takeIf(File::isFile)?.readText() ?: return null
        return whole(File(folder, name))
    }

    /** Removes every package but the current one. */
    public fun removeOthers() {
        val kept = File(folder, CURRENT).takeIf(File::isFile)?.readText()
        folder.listFiles()?.filter { it.isDirectory && it.name != kept }?.forEach(File::deleteRecursively)
    }

    private fun whole(place: File): PackageFolder? = try {
        if (place.isDirectory) PackageFolder.open(place) else null
    } catch (_: PackageException) {
        null
    }

    private fun readManifest(source: PackageSource): ByteArray {
        val data = ByteArrayOutputStream()
        try {
            source.open(MANIFEST).use { stream -> copyLimited(stream, JSON_LIMIT.toLong(), data::write) }
        } catch (error: IOException) {
            throw PackageException("this is no device package: cannot read $MANIFEST (${error.message})", error)
        }
        return data.toByteArray()
    }

    private fun readSignature(source: PackageSource): ByteArray? = try {
        source.open(SIGNATURE).use { stream -> readLimited(stream, SIGNATURE_BYTES) }
    } catch (_: IOException) {
        null
    }

    private fun copy(source: PackageSource, manifest: ByteArray, place: File): PackageFolder {
        val files = PackageFolder.deviceFiles(Manifest.fromJson(manifest))
        val staging = File(folder, STAGING)
        staging.deleteRecursively()
        try {
            for ((name, entry) in files) {
                copyFile(source, name, entry, File(staging, name))
            }
            replaceFile(File(staging, MANIFEST), manifest)
            PackageFolder.open(staging)
            place.deleteRecursively()
            if (!staging.renameTo(place)) throw StoreException("cannot rename $staging to $place")
            flushFolder(folder)
        } finally {
            staging.deleteRecursively()
        }
        return PackageFolder.open(place)
    }

    private fun copyFile(source: PackageSource, name: String, entry: FileEntry, path: File) {
        val stream = try {
            source.open(name)
        } catch (error: IOException) {
            throw PackageException("package file $name cannot be read (${error.message})", error)
        }
        try {
            path.parentFile.mkdirs()
            stream.use { from ->
                FileOutputStream(path).use { to ->
                    copyLimited(from, entry.bytes, to::write)
                    to.fd.sync()
                }
            }
        } catch (error: IOException) {
            throw StoreException("cannot copy $name to $path: ${error.message}; free some space", error)
        }
    }

    /** Copies at most one piece beyond [limit] bytes: a stream without end does not fill the disk. */
    private fun copyLimited(from: InputStream, limit: Long, write: (ByteArray, Int, Int) -> Unit) {
        val piece = ByteArray(PIECE)
        var copied = 0L
        while (copied <= limit) {
            val size = from.read(piece)
            if (size < 0) return
            write(piece, 0, size)
            copied += size
        }
    }

    private companion object {
        const val PIECE = 1 shl 16
    }
}
