package org.edgeexperts.wire

/** Blocks of a bank; so the list of them, 44 bytes each, stays one message. */
public const val BLOCKS_LIMIT: Int = 2_500

/** Labels of a federation. */
public const val LABELS_LIMIT: Int = 65_535
private const val BLOCK_LIMIT = 64L * 1024 * 1024
private const val BANK_LIMIT = Int.MAX_VALUE.toLong()

/**
 * Which blocks a bank has, and how large each is.
 *
 * Numbers are Long, as a manifest may claim anything; a shape that was made has only sizes that fit an Int.
 *
 * @property layers numbers of the adapted layers, ascending.
 * @property experts M, in each layer.
 * @property rank r.
 * @property sharedRank rs; 0 means that there are no shared experts.
 * @property width d.
 * @property labels C; 0 where the model continues texts: such a bank has neither head nor mean.
 * @throws BankException for a size below 1, layers that are not ascending, or more than SPEC.md, "Limits", allows.
 */
public data class BankShape(
    public val layers: List<Long>,
    public val experts: Long,
    public val rank: Long,
    public val sharedRank: Long,
    public val width: Long,
    public val labels: Long,
) {
    init {
        need(layers.isNotEmpty() && layers[0] >= 0 && layers.zipWithNext().all { (a, b) -> a < b }) {
            "adapted layers must be ascending numbers, got ${shown(layers)}"
        }
        need(minOf(experts, rank, width) >= 1 && minOf(sharedRank, labels) >= 0) { "sizes must be positive, got $this" }
        need(layers.last() < RESERVED && experts < RESERVED) {
            "layers and experts are numbered below $RESERVED, got ${layers.last()} and $experts"
        }
        need(labels <= LABELS_LIMIT) { "$labels labels, limit $LABELS_LIMIT" }
        val blocks = layers.size * (experts + (if (sharedRank > 0) 1 else 0)) + (if (labels > 0) 2 else 0)
        need(blocks <= BLOCKS_LIMIT) {
            "a bank of $blocks blocks, limit $BLOCKS_LIMIT: adapt fewer layers or take fewer experts"
        }
        // Bounded one by one first, so that no product of two of them leaves 64 bits.
        need(maxOf(rank, sharedRank, width) <= BLOCK_LIMIT && largest() <= BLOCK_LIMIT) {
            "the largest block is over $BLOCK_LIMIT bytes: take a smaller rank or fewer labels"
        }
        need(bytes() <= BANK_LIMIT) {
            "a bank of ${bytes()} bytes, limit $BANK_LIMIT: adapt fewer layers or take fewer experts"
        }
    }

    private inline fun need(condition: Boolean, detail: () -> String) {
        if (!condition) throw BankException(detail())
    }

    private fun expertValues() = 2 * (rank + 1) * width + rank

    private fun sharedValues() = if (sharedRank > 0) (2 * sharedRank + 1) * width + sharedRank else 0

    private fun headValues() = labels * (width + 1)

    private fun meanValues() = if (labels > 0) width else 0

    private fun largest() = 4 * maxOf(expertValues(), sharedValues(), headValues())

    private fun bytes() = 4 * (layers.size * (experts * expertValues() + sharedValues()) + headValues() + meanValues())

    /** P, values of an expert's block. */
    public val expertSize: Int get() = expertValues().toInt()

    /** Ps, values of a shared expert's block; 0 without shared experts. */
    public val sharedSize: Int get() = sharedValues().toInt()

    /** Values of the head's block; 0 without labels. */
    public val headSize: Int get() = headValues().toInt()

    /** Values of the mean's block; 0 without labels. */
    public val meanSize: Int get() = meanValues().toInt()

    /** Returns every block of the bank, ascending. */
    public fun ids(): List<ExpertId> = layers.flatMap { layer ->
        val routed = (0 until experts.toInt()).map { ExpertId(layer.toInt(), it) }
        if (sharedRank > 0) routed + sharedExpert(layer.toInt()) else routed
    } + (if (labels > 0) listOf(HEAD, MEAN) else emptyList())

    /** Returns how many adapted layers, from the top, training [blocks] goes down to; 0 for the head alone. */
    public fun depth(blocks: Iterable<ExpertId>): Int {
        val lowest = blocks.map { layers.indexOf(it.layer.toLong()) }.filter { it >= 0 }.minOrNull()
        return if (lowest == null) 0 else layers.size - lowest
    }

    /**
     * Returns the values of [block].
     *
     * @throws BankException when the bank has no such block.
     */
    public fun size(block: ExpertId): Int {
        if (labels > 0 && block == HEAD) return headSize
        if (labels > 0 && block == MEAN) return meanSize
        if (block.layer.toLong() in layers) {
            if (block.shared && sharedRank > 0) return sharedSize
            if (block.index in 0 until experts) return expertSize
        }
        throw BankException("no block $block in a bank of layers ${shown(layers)} with $experts experts each")
    }
}
