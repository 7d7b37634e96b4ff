/** Files that are whole or not there: written beside, flushed to the disk, then renamed over the old one. */
package org.edgeexperts.core

import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption

private const val BESIDE = ".new"

/**
 * Replaces [path] with [data].
 *
 * @param flush wait for the disk: a power cut then leaves the old file or the new one. Without it a kill does.
 * @throws StoreException when the disk refuses.
 */
public fun replaceFile(path: File, data: ByteArray, flush: Boolean = true) {
    val beside = File(path.parentFile, ".${path.name}$BESIDE")
    try {
        FileOutputStream(beside).use { file ->
            file.write(data)
            if (flush) file.fd.sync()
        }
        Files.move(
            beside.toPath(), path.toPath(), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING,
        )
        if (flush) flushFolder(path.parentFile)
    } catch (error: IOException) {
        beside.delete()
        throw StoreException("cannot write $path: ${error.message}; free some space", error)
    }
}

/** Makes renames and removals in [folder] last through a power cut. */
internal fun flushFolder(folder: File) {
    try {
        FileChannel.open(folder.toPath(), StandardOpenOption.READ).use { it.force(true) }
    } catch (_: IOException) {
        // A file system that does not flush folders keeps its own order; the files themselves were flushed.
    }
}

/** Removes what a killed process left beside. */
internal fun sweep(folder: File) {
    folder.listFiles()?.filter { it.name.startsWith(".") && it.name.endsWith(BESIDE) }?.forEach(File::delete)
}
