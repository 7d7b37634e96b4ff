package org.edgeexperts.core

import org.edgeexperts.wire.DIGEST_BYTES
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256
import java.io.File
import java.io.IOException

private const val LIMIT_BYTES = 256_000_000L
private const val BLOCK = 4096L

/**
 * Prefixes of examples on disk, of bounded size: what the frozen layers make of a text is the same in every epoch.
 *
 * Nothing here must last: an entry that is missing, cut off or changed is computed again, and the folder may be deleted at
 * any time. An entry is the SHA-256 of its body, then the body. When there is no room, entries that were not used since
 * this process opened the folder go first, the oldest of them first; where all were used, what is new is not kept.
 *
 * @param folder made when it is not there.
 */
internal class DiskPrefixes(private val folder: File, private val limit: Long = LIMIT_BYTES) : PrefixCache {
    private val began = System.currentTimeMillis() - 1000 // file systems that round times down to a second
    private var used = 0L

    init {
        folder.mkdirs()
        sweep(folder)
        used = files().sumOf(::spaceOf)
    }

    private fun files(): List<File> = folder.listFiles().orEmpty().filter(File::isFile)

    private fun spaceOf(file: File) = (file.length() + BLOCK - 1) / BLOCK * BLOCK

    /** One that depends on something that changes, as experts below a prefix do with a version, has its generation in its name. */
    private fun fileOf(key: ByteArray, generation: String) =
        File(folder, if (generation.isEmpty()) hex(key) else "$generation-${hex(key)}")

    override fun get(key: ByteArray, generation: String): ByteArray? {
        val file = fileOf(key, generation)
        val data = try {
            if (file.isFile) file.readBytes() else return null
        } catch (_: IOException) {
            return null
        }
        val body = data.copyOfRange(minOf(DIGEST_BYTES, data.size), data.size)
        if (sha256(body).contentEquals(data.copyOf(DIGEST_BYTES))) {
            file.setLastModified(System.currentTimeMillis())
            return body
        }
        remove(file)
        return null
    }

    override fun put(key: ByteArray, body: ByteArray, generation: String) {
        val need = (body.size + DIGEST_BYTES + BLOCK - 1) / BLOCK * BLOCK
        if (used + need > limit) makeRoom(need)
        if (used + need > limit) return
        try {
            replaceFile(fileOf(key, generation), sha256(body) + body, flush = false)
            used += need
        } catch (_: StoreException) {
            return // a full disk: it is computed again
        }
    }

    override fun keepGenerations(kept: Set<String>) =
        files().filter { '-' in it.name && it.name.substringBefore('-') !in kept }.forEach(::remove)

    private fun remove(file: File) {
        used -= spaceOf(file)
        file.delete()
    }

    private fun makeRoom(need: Long) {
        for (file in files().filter { it.lastModified() < began }.sortedBy(File::lastModified)) {
            if (used + need <= limit) return
            remove(file)
        }
    }
}
