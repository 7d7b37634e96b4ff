package org.edgeexperts.wire

import java.io.File
import java.io.IOException

private const val GATEWAY_FOLDER = "gateway/"

/**
 * An opened package folder: its manifest was read and every file that a device needs has the digest it names.
 *
 * @property folder where it is.
 * @property digest SHA-256 of manifest.json, which names every other file's.
 */
public class PackageFolder private constructor(
    public val folder: File,
    public val manifest: Manifest,
    public val digest: ByteArray,
) {
    /**
     * Returns the path of a file that the manifest lists.
     *
     * @throws PackageException when the manifest does not list it.
     */
    public fun path(name: String): File {
        if (name !in manifest.files) throw PackageException("package $folder has no $name")
        return File(folder, name)
    }

    /**
     * Reads the initial bank, version 0.
     *
     * @throws BankException when it does not fit the manifest.
     */
    public fun bank(): Bank {
        val path = path("bank.safetensors")
        val architecture = manifest.architecture
        return Bank.fromBytes(path.readBytes(), architecture.bankShape(), architecture.digest(), path.toString())
    }

    /**
     * Checks that the maker of this device's packages signed this one.
     *
     * @param maker its public key, 32 bytes.
     * @throws PackageException when it did not.
     */
    public fun verify(maker: ByteArray) {
        val (manifest, signature) = try {
            listOf(MANIFEST to JSON_LIMIT, SIGNATURE to SIGNATURE_BYTES).map { (name, limit) ->
                File(folder, name).inputStream().use { readLimited(it, limit) }
            }
        } catch (error: IOException) {
            throw PackageException("package $folder is not signed: cannot read $SIGNATURE (${error.message})", error)
        }
        if (!sha256(manifest).contentEquals(digest)) throw PackageException("$MANIFEST in $folder was changed; open it again")
        verifyManifest(maker, manifest, signature)
    }

    public companion object {
        /**
         * Reads the manifest and compares every file of the device's part with its digest.
         *
         * @throws PackageException when a file is missing, leads out of the folder, or is not what the manifest says.
         */
        public fun open(folder: File): PackageFolder {
            val path = File(folder, MANIFEST)
            val data = try {
                path.inputStream().use { readLimited(it, JSON_LIMIT) }
            } catch (error: IOException) {
                val reason = "${error.message}"
                throw PackageException("$folder is no device package: cannot read $MANIFEST ($reason)", error)
            }
            val manifest = Manifest.fromJson(data, path.toString())
            deviceFiles(manifest).forEach { (name, entry) -> verify(folder, name, entry) }
            return PackageFolder(folder, manifest, sha256(data))
        }

        /** Returns the files that a device needs: all but the gateway's part. */
        public fun deviceFiles(manifest: Manifest): Map<String, FileEntry> =
            manifest.files.filterKeys { !it.startsWith(GATEWAY_FOLDER) }
    }
}

private fun verify(folder: File, name: String, entry: FileEntry) {
    val path = File(folder, name)
    fun refuse(what: String, cause: Throwable? = null): Nothing =
        throw PackageException("package file $path $what; copy or export the package again", cause)
    try {
        // A pipe or device would be read for ever; a link out of the folder may change later.
        val inside = path.canonicalFile.toPath().startsWith(folder.canonicalFile.toPath())
        if (!path.exists()) refuse("is not there")
        if (!inside || !path.isFile) refuse("is no file inside the package")
        if (path.length() != entry.bytes) {
            refuse("has ${path.length()} bytes, the manifest says ${entry.bytes}")
        }
        val digest = path.inputStream().use { hex(sha256(it)) }
        if (digest != entry.sha256) {
            refuse("was changed: SHA-256 is ${digest.take(12)}…, the manifest says ${entry.sha256.take(12)}…")
        }
    } catch (error: IOException) {
        refuse("cannot be read (${error.message})", error)
    }
}
