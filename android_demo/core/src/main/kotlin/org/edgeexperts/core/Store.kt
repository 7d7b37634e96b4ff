/**
 * What a device remembers: every file is whole or not there, and never trusted without its digest.
 *
 *     lock            held by the one process that works here
 *     blobs/HEX       blocks and updates, named by their digest: checked on every read, fetched again when damaged
 *     versions/HEX    Version messages as received, by version digest
 *     pieces/HEX      pieces of blobs that are on their way; the blob's digest proves them at last
 *     others          sealed records: plan, checkpoint, delta, done, feedback, ...
 *
 * A sealed record is a magic, the SHA-256 of the rest, the length of a JSON head, the head, a body; the layout of
 * edge_runtime/store.py.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.BankException
import org.edgeexperts.wire.DIGEST_BYTES
import org.edgeexperts.wire.NamedTensor
import org.edgeexperts.wire.canonicalJson
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.readSafetensors
import org.edgeexperts.wire.sha256
import org.edgeexperts.wire.writeSafetensors
import java.io.Closeable
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileLock
import java.nio.channels.OverlappingFileLockException

private val MAGIC = "edgest01".toByteArray()
private const val SEAL_BYTES = 8 + DIGEST_BYTES
private const val HEAD_OFFSET = SEAL_BYTES + 4

/**
 * A sealed record.
 *
 * @property head a small object of JSON: texts, whole numbers, fractions, lists, objects.
 * @property body bytes.
 */
public class Record(public val head: Map<String, Any?> = emptyMap(), public val body: ByteArray = ByteArray(0)) {
    /**
     * Returns the body as named arrays.
     *
     * @throws DamagedException when it holds none.
     */
    public fun tensors(): Map<String, NamedTensor> = try {
        if (body.isEmpty()) emptyMap() else readSafetensors(body, "a record").tensors
    } catch (error: BankException) {
        throw DamagedException(error.message.orEmpty(), error)
    }

    public companion object {
        /** Returns a record of named arrays. */
        public fun of(head: Map<String, Any?>, tensors: Map<String, NamedTensor>): Record =
            Record(head, if (tensors.isEmpty()) ByteArray(0) else writeSafetensors(tensors))
    }
}

/**
 * A state directory, locked from opening to closing.
 *
 * @param folder made when it is not there.
 * @throws StoreException when another process works in it, or it cannot be made or written to.
 */
public class Store(private val folder: File) : Closeable {
    private val blobs = File(folder, "blobs")
    private val versions = File(folder, "versions")

    /** Where pieces of blobs are that are on their way. */
    internal val pieces: File = File(folder, "pieces")
    private val lockFile: RandomAccessFile
    private val lock: FileLock

    init {
        try {
            listOf(blobs, versions).forEach { it.mkdirs() }
            lockFile = RandomAccessFile(File(folder, "lock"), "rw")
            lock = tryLock() ?: throw StoreException("another process works in the state directory $folder")
        } catch (error: IOException) {
            throw StoreException("cannot use the state directory $folder: ${error.message}; choose another", error)
        }
        listOf(folder, blobs, versions).forEach(::sweep)
    }

    private fun tryLock(): FileLock? {
        val lock = try {
            lockFile.channel.tryLock()
        } catch (_: OverlappingFileLockException) { // this very process
            null
        }
        if (lock == null) lockFile.close()
        return lock
    }

    /** Gives the directory back; closing twice does nothing. */
    override fun close() {
        if (lock.isValid) lock.release()
        lockFile.close()
    }

    /**
     * Replaces the record [name].
     *
     * @throws StoreException when the disk refuses.
     */
    public fun write(name: String, record: Record) {
        val head = canonicalJson(record.head)
        val sealed = ByteBuffer.allocate(4 + head.size + record.body.size).order(ByteOrder.LITTLE_ENDIAN)
            .putInt(head.size).put(head).put(record.body).array()
        replaceFile(File(folder, name), MAGIC + sha256(sealed) + sealed)
    }

    /**
     * Returns the record [name]; null when there is none.
     *
     * @throws DamagedException when it is not what was written.
     */
    public fun read(name: String): Record? {
        val data = bytes(File(folder, name)) ?: return null
        val whole = data.size >= HEAD_OFFSET && data.copyOf(MAGIC.size).contentEquals(MAGIC) &&
            sha256(data.copyOfRange(SEAL_BYTES, data.size)).contentEquals(data.copyOfRange(MAGIC.size, SEAL_BYTES))
        if (!whole) throw DamagedException("${File(folder, name)} is damaged")
        val body = HEAD_OFFSET + ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).getInt(SEAL_BYTES)
        val head = parseJson(data.copyOfRange(HEAD_OFFSET, body), name) as Map<*, *>
        return Record(head.mapKeys { it.key as String }, data.copyOfRange(body, data.size))
    }

    /** Returns the record [name]; a damaged one is removed and counts as none: its owner makes it anew. */
    public fun recall(name: String): Record? = try {
        read(name)
    } catch (_: DamagedException) {
        remove(name)
        null
    }

    /**
     * Gives the record [name] the name [other], in place of the one that had it.
     *
     * @throws StoreException when the disk refuses.
     */
    public fun rename(name: String, other: String) {
        if (!File(folder, name).renameTo(File(folder, other))) {
            throw StoreException("cannot rename ${File(folder, name)}; free some space")
        }
        flushFolder(folder)
    }

    /** Removes a record, if there is one. */
    public fun remove(name: String) {
        File(folder, name).delete()
        flushFolder(folder)
    }

    /**
     * Keeps a block's bytes.
     *
     * @throws DamagedException when they do not have the digest.
     */
    public fun putBlob(digest: ByteArray, data: ByteArray) {
        if (!sha256(data).contentEquals(digest)) {
            throw DamagedException("${data.size} bytes do not have the digest ${hex(digest).take(12)}")
        }
        // Its name proves it on every read and it can be fetched again, so it need not wait for the disk: flushing
        // the blocks of a version one by one would cost a slow flash seconds.
        replaceFile(File(blobs, hex(digest)), data, flush = false)
    }

    /** Returns a block's bytes; null when they are not here (damaged ones are removed). */
    public fun blob(digest: ByteArray): ByteArray? {
        val path = File(blobs, hex(digest))
        val data = bytes(path) ?: return null
        if (sha256(data).contentEquals(digest)) return data
        path.delete()
        return null
    }

    /** Returns whether there is a file of that name; reading it proves it. */
    public fun hasBlob(digest: ByteArray): Boolean = File(blobs, hex(digest)).exists()

    /** Keeps a Version message as received. */
    public fun putVersion(digest: ByteArray, message: ByteArray) {
        replaceFile(File(versions, hex(digest)), sha256(message) + message)
    }

    /** Returns a Version message; null when it is not here (a damaged one is removed). */
    public fun version(digest: ByteArray): ByteArray? {
        val path = File(versions, hex(digest))
        val data = bytes(path) ?: return null
        if (data.size >= DIGEST_BYTES) {
            val message = data.copyOfRange(DIGEST_BYTES, data.size)
            if (sha256(message).contentEquals(data.copyOf(DIGEST_BYTES))) return message
        }
        path.delete()
        return null
    }

    /** Removes every version and blob that is not listed. */
    public fun keepOnly(keptVersions: Iterable<ByteArray>, keptBlobs: Iterable<ByteArray>) {
        for ((part, kept) in listOf(versions to keptVersions, blobs to keptBlobs)) {
            val names = kept.map(::hex).toSet()
            part.listFiles()?.filterNot { it.name in names }?.forEach(File::delete)
        }
    }

    private fun bytes(path: File): ByteArray? = try {
        path.readBytes()
    } catch (_: FileNotFoundException) {
        null
    } catch (error: IOException) {
        throw StoreException("cannot read $path: ${error.message}", error)
    }
}
