package org.edgeexperts.core

import org.edgeexperts.wire.Bank
import org.edgeexperts.wire.BankException
import org.edgeexperts.wire.Code
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.ExpertRef
import org.edgeexperts.wire.MessageKind
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.Version
import org.edgeexperts.wire.WireException
import org.edgeexperts.wire.applyUpdate
import org.edgeexperts.wire.decodeValues
import org.edgeexperts.wire.encodeValues
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.sha256

private const val CURRENT = "current"

/** Requests in a row without an answer, after which blocks are fetched whole: an update may be lost at the gateway. */
internal const val PATIENCE: Int = 3

/** The id that a message names. */
internal fun ExpertRef.id(): ExpertId = ExpertId(layer, index)

/** Returns the bytes of hex digits. */
internal fun fromHex(text: String): ByteArray =
    ByteArray(text.length / 2) { text.substring(2 * it, 2 * it + 2).toInt(16).toByte() }

/**
 * A bank to predict with.
 *
 * @property number of its version; 0 is the package's own.
 * @property digest of the version.
 */
internal class Numbered(val bank: Bank, val number: Long, val digest: ByteArray)

/**
 * Which version of the bank is here, what is missing of another, and banks put together from blobs. The package's own
 * bank counts as a store: a block that did not change since the export is never downloaded, and one that did may come as
 * updates of it. Any thread may ask.
 *
 * @param store where blobs and messages are kept.
 * @param folder the package, whose bank is version 0.
 */
internal class Versions(private val store: Store, folder: PackageFolder) {
    private val shape = folder.manifest.architecture.bankShape()
    private val federation = folder.manifest.architecture.digest()
    private val initial = folder.bank()
    private val initialDigest = fromHex(folder.manifest.architecture.bankDigest)
    private val own = initial.digests().entries.associate { (block, digest) -> hex(digest) to block }
    private var complete: Version?

    // All of it is here, and it is no bank.
    private var useless: Version? = null

    // How each block comes that a version lacks, by both digests; kept because every blob that comes asks again.
    private val lacking = HashMap<String, MutableMap<String, Way>>()

    // Blocks that their updates did not lead to.
    private val distrusted = HashSet<String>()
    private var unanswered = 0

    /** The last that the gateway announced. */
    @get:Synchronized
    var newest: Version?
        private set

    init {
        val head = store.recall(CURRENT)?.head.orEmpty()
        newest = (head["newest"] as? String)?.let { message(fromHex(it)) }
        complete = (head["complete"] as? String)?.let { message(fromHex(it)) }
    }

    private fun message(digest: ByteArray): Version? = store.version(digest)?.let(MessageKind.VERSION::decode)

    private fun remember() {
        val named = mapOf("newest" to newest, "complete" to complete)
        val head = named.filterValues { it != null }.mapValues { (_, version) -> hex(version!!.digest.toByteArray()) }
        store.write(CURRENT, Record(head))
    }

    /**
     * Takes a Version message; it becomes the newest, whatever its number (an operator may roll back).
     *
     * @throws WireException MALFORMED, WRONG_FEDERATION, DIGEST_MISMATCH, or blocks that are not this bank's.
     */
    @Synchronized
    fun announce(payload: ByteArray): Version {
        val version = MessageKind.VERSION.decode(payload)
        if (!version.federationDigest.toByteArray().contentEquals(federation)) {
            throw WireException(Code.WRONG_FEDERATION, "a version of another federation")
        }
        if (version.blocksList.map { it.id() } != shape.ids()) {
            val count = version.blocksCount
            throw WireException(Code.MALFORMED, "a version of $count blocks that are not this bank's")
        }
        store.putVersion(version.digest.toByteArray(), payload)
        newest = version
        lacking.clear()
        remember()
        return version
    }

    /**
     * When the newest version is complete, makes it the one to predict with and removes what is no longer needed.
     *
     * @param others digests of versions to keep as well.
     * @return whether the newest became complete now.
     * @throws BankException once, when all of it is here and it is no bank; the version before stays.
     */
    @Synchronized
    fun adoptNewest(others: List<ByteArray>): Boolean {
        val candidate = newest
        if (candidate == null || candidate == complete || candidate == useless || missing(candidate).isNotEmpty()) {
            return false
        }
        if (!usable(candidate)) return false
        complete = candidate
        remember()
        val kept = listOf(candidate) + others.mapNotNull(::find)
        val blobs = kept.flatMap { version -> version.blocksList.map { it.digest.toByteArray() } }
        val leading = kept.flatMap { ways(it).values }.flatMap { it.updates + it.base }.map(::fromHex)
        store.keepOnly(kept.map { it.digest.toByteArray() }, blobs + leading)
        lacking.clear()
        distrusted.clear()
        return true
    }

    /** Returns whether every block can be read, one at a time; what was here before is let go only then. */
    private fun usable(version: Version): Boolean = try {
        version.blocksList.all { values(it.id(), it.digest.toByteArray()) != null }
    } catch (error: BankException) {
        useless = version
        throw error
    }

    /** Returns the version with this digest, if its message is here. */
    @Synchronized
    fun find(digest: ByteArray): Version? =
        newest?.takeIf { it.digest.toByteArray().contentEquals(digest) } ?: message(digest)

    /** Returns the digests of the blocks that lack, each once, in hex. */
    @Synchronized
    fun missing(version: Version): List<String> = ways(version).keys.toList()

    /** Returns the digests of the updates and blocks that must be fetched, each once, in hex. */
    @Synchronized
    fun wanted(version: Version): List<String> = ways(version).values.flatMap { it.awaited }.distinct()

    /** Keeps the bytes of a block, or of an update, that came from the gateway. */
    @Synchronized
    fun keep(digest: ByteArray, data: ByteArray) {
        store.putBlob(digest, data)
        unanswered = 0
        lacking.values.forEach { it -= hex(digest) }
        val came = open().filter { it.awaited.remove(hex(digest)) }
        came.filter { it.awaited.isEmpty() }.distinctBy { it.digest }.forEach(::takeUp)
    }

    /** Notes that nothing came of what was asked for; before long, blocks are fetched whole. */
    @Synchronized
    fun unanswered() {
        unanswered++
        if (unanswered >= PATIENCE) open().forEach(::fetchWhole)
    }

    private fun ways(version: Version): MutableMap<String, Way> = lacking.getOrPut(hex(version.digest.toByteArray())) {
        waysTo(version, shape, distrusted, ::here)
    }.also { ways ->
        ways.values.filter { it.awaited.isEmpty() }.forEach(::takeUp) // its updates came for another version
    }

    private fun open(): List<Way> = lacking.values.flatMap { it.values }

    private fun here(digest: String): Boolean = digest in own || store.hasBlob(fromHex(digest))

    /** Makes a block of its base, now that every update is here; one that they do not lead to is fetched whole. */
    private fun takeUp(way: Way) {
        val data = applied(way)
        if (data == null || hex(sha256(data)) != way.digest) {
            distrusted += way.digest
            fetchWhole(way)
            return
        }
        store.putBlob(fromHex(way.digest), data)
        lacking.values.forEach { it -= way.digest }
    }

    /** Returns what updates make of their base; null when one of them is lost or damaged, or cannot be applied. */
    private fun applied(way: Way): ByteArray? {
        val base = bytes(way.base) ?: return null
        val updates = way.updates.map { bytes(it) ?: return null }
        return try {
            encodeValues(updates.fold(decodeValues(base, shape.size(way.block).toLong()), ::applyUpdate))
        } catch (_: WireException) {
            null
        }
    }

    private fun fetchWhole(way: Way) {
        lacking.values.filter { way.digest in it }.forEach { it[way.digest] = whole(way.block, way.digest) }
    }

    private fun bytes(digest: String): ByteArray? =
        own[digest]?.let { encodeValues(initial.block(it)) } ?: store.blob(fromHex(digest))

    /**
     * Returns the bank of a version, every block checked against its digest; null when one lacks or is damaged.
     *
     * @throws BankException when a block is what its digest says and yet no block of this bank.
     */
    @Synchronized
    fun bank(version: Version): Bank? {
        val blocks = version.blocksList.associate { block ->
            block.id() to (values(block.id(), block.digest.toByteArray()) ?: return null)
        }
        return Bank.fromBlocks(shape, blocks)
    }

    private fun values(block: ExpertId, digest: ByteArray): FloatArray? {
        own[hex(digest)]?.let { return initial.block(it) }
        val data = store.blob(digest)
        if (data == null) { // lost or damaged since it was seen
            lacking.clear()
            return null
        }
        try {
            return decodeValues(data, shape.size(block).toLong())
        } catch (error: WireException) { // the right digest of wrong values: no copy of it can be run
            throw BankException("block $block of the gateway's version cannot be used: ${error.detail}", error)
        }
    }

    /** Number and digest of the newest complete version, without putting its bank together. */
    @Synchronized
    fun latest(): Pair<Long, ByteArray> = complete?.let { it.version to it.digest.toByteArray() } ?: (0L to initialDigest)

    /** Returns the newest complete bank; the package's own is version 0. */
    @Synchronized
    fun latestBank(): Numbered {
        val version = complete
        val bank = version?.let(::bank)
        return if (bank == null) Numbered(initial, 0, initialDigest) else {
            Numbered(bank, version.version, version.digest.toByteArray())
        }
    }
}
