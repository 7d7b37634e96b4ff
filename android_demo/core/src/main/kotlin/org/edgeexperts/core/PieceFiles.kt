package org.edgeexperts.core

import org.edgeexperts.wire.Chunk
import org.edgeexperts.wire.MESSAGE_LIMIT
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.Unfinished
import org.edgeexperts.wire.WIRE_VERSION
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.asField
import org.edgeexperts.wire.hex
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.util.zip.CRC32

/** Files that nothing was added to for so long are dropped at a start. */
private const val KEPT_MS = 86_400_000L

/**
 * Pieces of blobs that are on their way, on the disk, so that a restart needs the rest alone: one file for each blob, its
 * chunks as they were sent, each behind its size and CRC-32. Nothing is flushed: what is lost or damaged comes again, and
 * the blob's digest proves it at last.
 *
 * @param folder made when something is kept.
 * @param millis Unix time.
 */
internal class PieceFiles(private val folder: File, private val millis: () -> Long = System::currentTimeMillis) {
    /** Keeps pieces beside those that were kept before; a full disk keeps none, which costs time only. */
    fun add(digest: ByteArray, body: Unfinished, fresh: Collection<Int>) {
        try {
            folder.mkdirs()
            DataOutputStream(FileOutputStream(file(digest), true).buffered()).use { file ->
                for (index in fresh) {
                    val chunk = Chunk.newBuilder().setWireVersion(WIRE_VERSION).setKind(body.kind).setDigest(digest.asField())
                        .setIndex(index).setCount(body.count).setTotal(body.total).setPayload(body.pieces.getValue(index))
                        .build().toByteArray()
                    file.writeInt(chunk.size)
                    file.writeInt(checksum(chunk))
                    file.write(chunk)
                }
            }
        } catch (_: IOException) {
            return
        }
    }

    /** Forgets the pieces of a blob, if there are any. */
    fun remove(digest: ByteArray) {
        file(digest).delete()
    }

    /** Returns chunks, those of the newest file first, of files of [limit] bytes together; those of no use go. */
    fun take(limit: Long): List<Chunk> {
        var left = limit
        return folder.listFiles().orEmpty().sortedByDescending(File::lastModified).flatMap { file ->
            left -= file.length()
            val chunks = if (left >= 0 && millis() - file.lastModified() < KEPT_MS) read(file) else emptyList()
            if (chunks.isEmpty()) file.delete()
            chunks
        }
    }

    private fun file(digest: ByteArray) = File(folder, hex(digest))

    /** Returns the chunks of a file up to the first that is damaged. */
    private fun read(path: File): List<Chunk> {
        val chunks = ArrayList<Chunk>()
        try {
            DataInputStream(path.inputStream().buffered()).use { file ->
                while (true) {
                    val size = file.readInt()
                    val sum = file.readInt()
                    if (size !in 0..MESSAGE_LIMIT) break
                    val data = ByteArray(size).also(file::readFully)
                    if (checksum(data) != sum) break
                    chunks += MessageKind.CHUNK.decode(data)
                }
            }
        } catch (_: IOException) { // its end
        } catch (_: WireException) { // somebody else wrote it
        }
        return chunks
    }

    private fun checksum(data: ByteArray): Int = CRC32().apply { update(data) }.value.toInt()
}
