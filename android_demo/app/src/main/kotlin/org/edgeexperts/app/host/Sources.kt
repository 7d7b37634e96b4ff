/** Where a package comes from on a phone: the APK, a folder or a zip file that the user chose. */
package org.edgeexperts.app.host

import android.content.ContentResolver
import android.content.res.AssetManager
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import org.edgeexperts.core.PackageSource
import org.edgeexperts.core.StoreException
import org.edgeexperts.wire.MANIFEST
import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.readLimited
import java.io.Closeable
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream
import java.util.zip.ZipException
import java.util.zip.ZipFile

/** Folder of the APK's assets that may hold a package. */
private const val ASSETS = "package"

/** Returns the package in the APK; null when there is none. */
fun assetSource(assets: AssetManager): PackageSource? {
    val there = assets.list(ASSETS).orEmpty().contains(MANIFEST)
    return if (there) PackageSource { assets.open("$ASSETS/$it") } else null
}

/** A folder behind the document picker. */
class TreeSource(private val resolver: ContentResolver, private val tree: Uri) : PackageSource {
    override fun open(name: String): InputStream {
        var document = DocumentsContract.getTreeDocumentId(tree)
        for (part in name.split('/')) {
            document = child(document, part) ?: throw FileNotFoundException("the folder has no $name")
        }
        val file = DocumentsContract.buildDocumentUriUsingTree(tree, document)
        return resolver.openInputStream(file) ?: throw FileNotFoundException("$name cannot be opened")
    }

    private fun child(parent: String, name: String): String? {
        val children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, parent)
        val wanted = arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_DISPLAY_NAME)
        resolver.query(children, wanted, null, null, null)?.use { rows ->
            while (rows.moveToNext()) if (rows.getString(1) == name) return rows.getString(0)
        }
        return null
    }
}

/**
 * A zip file with a package at its top or in one folder. It is copied, because what the picker gives cannot be read
 * out of order.
 *
 * @param copy where to; removed on closing.
 */
class ZipSource(resolver: ContentResolver, uri: Uri, private val copy: File) : PackageSource, Closeable {
    private val zip: ZipFile
    private val folder: String

    init {
        try {
            val stream = resolver.openInputStream(uri) ?: throw FileNotFoundException("the file cannot be opened")
            stream.use { copyOf(it) }
            zip = try {
                ZipFile(copy)
            } catch (error: ZipException) {
                throw PackageException("the file is no zip file (${error.message}); choose the package's", error)
            }
            folder = zip.entries().asSequence().map { it.name }.filter { it.endsWith("/$MANIFEST") || it == MANIFEST }
                .minByOrNull(String::length)?.removeSuffix(MANIFEST)
                ?: throw PackageException("the zip file has no $MANIFEST; zip a whole package")
        } catch (error: Exception) {
            copy.delete()
            throw error
        }
    }

    private fun copyOf(from: InputStream) {
        val room = copy.parentFile!!.apply { mkdirs() }.usableSpace
        copy.outputStream().use { to ->
            val piece = ByteArray(1 shl 16)
            var copied = 0L
            while (true) {
                val size = from.read(piece)
                if (size < 0) return
                copied += size
                if (copied > room) throw StoreException("the zip file needs more than the $room bytes that are free")
                to.write(piece, 0, size)
            }
        }
    }

    override fun open(name: String): InputStream {
        val entry = zip.getEntry(folder + name) ?: throw FileNotFoundException("the zip file has no $name")
        return zip.getInputStream(entry)
    }

    override fun close() {
        zip.close()
        copy.delete()
    }
}

/** Returns the bytes of a file, or of a larger one the first [limit] + 1. */
fun readLimited(resolver: ContentResolver, uri: Uri, limit: Int): ByteArray {
    val stream = resolver.openInputStream(uri) ?: throw IOException("the file cannot be opened")
    return stream.use { readLimited(it, limit) }
}
