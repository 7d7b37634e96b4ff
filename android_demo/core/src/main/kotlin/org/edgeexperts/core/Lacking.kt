/**
 * How a block that lacks comes here in the fewest bytes: by updates of a block that is here, or whole. Pure.
 *
 * SPEC.md, "Updates": a version lists under a block the updates that lead to it, each a step further back.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.BankShape
import org.edgeexperts.wire.Block
import org.edgeexperts.wire.ExpertId
import org.edgeexperts.wire.Version
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.updateBytes

/** The id of a block that a version lists. */
internal fun Block.id(): ExpertId = ExpertId(layer, index)

/**
 * How one block comes; digests are in hex.
 *
 * @property block its name; of blocks with one digest, any.
 * @property digest of the block.
 * @property base of the block that the updates begin from; empty when the block comes whole.
 * @property updates oldest first; none when the block comes whole.
 * @property awaited what must still be fetched.
 */
internal class Way(
    val block: ExpertId,
    val digest: String,
    val awaited: MutableSet<String>,
    val base: String = "",
    val updates: List<String> = emptyList(),
)

/** Returns the way of a block that is fetched as it is. */
internal fun whole(block: ExpertId, digest: String): Way = Way(block, digest, linkedSetOf(digest))

/**
 * Returns the cheapest way of each block of [version] that is not here, by digest.
 *
 * @param shape of the bank.
 * @param distrusted digests of blocks that updates did not lead to: they are fetched whole.
 * @param here whether there is a blob of a digest.
 */
internal fun waysTo(
    version: Version,
    shape: BankShape,
    distrusted: Set<String>,
    here: (String) -> Boolean,
): MutableMap<String, Way> {
    val ways = LinkedHashMap<String, Way>()
    for (block in version.blocksList) {
        val digest = hex(block.digest.toByteArray())
        if (digest in ways || here(digest)) continue
        val way = if (digest in distrusted) null else byUpdates(block, digest, shape.size(block.id()), here)
        ways[digest] = way ?: whole(block.id(), digest)
    }
    return ways
}

/** Returns the way from the nearest block that is here; null when it is not cheaper than the block itself. */
private fun byUpdates(block: Block, digest: String, values: Int, here: (String) -> Boolean): Way? {
    val awaited = LinkedHashSet<String>()
    val steps = ArrayDeque<String>()
    for (update in block.updatesList) {
        val step = hex(update.digest.toByteArray())
        steps.addFirst(step)
        if (!here(step)) awaited += step
        if (awaited.size * updateBytes(values) >= 4L * values) return null
        val base = hex(update.base.toByteArray())
        if (here(base)) return Way(block.id(), digest, awaited, base, steps)
    }
    return null
}
