/** Identity of a block of the bank, and where its values stand. Axes: r rank, rs shared rank, d width, C labels. */
package org.edgeexperts.wire

/** Layer of the blocks outside the layers, and index of a layer's shared expert. */
public const val RESERVED: Int = 0xFFFF

/** The head's block. */
public val HEAD: ExpertId = ExpertId(RESERVED, 0)

/** The block of the feature mean. */
public val MEAN: ExpertId = ExpertId(RESERVED, 1)

/** A block's name on the wire; sorts in the order in which the wire lists blocks. Both numbers are 0 to 65,535. */
public data class ExpertId(public val layer: Int, public val index: Int) : Comparable<ExpertId> {
    /** Whether this is a layer's shared expert. */
    public val shared: Boolean get() = index == RESERVED && layer != RESERVED

    override fun compareTo(other: ExpertId): Int = compareValuesBy(this, other, ExpertId::layer, ExpertId::index)

    /** Short form for people: `3.5`, `3.shared`, `head`, `mean`. */
    override fun toString(): String = when {
        this == HEAD -> "head"
        this == MEAN -> "mean"
        layer == RESERVED -> "reserved.$index"
        shared -> "$layer.shared"
        else -> "$layer.$index"
    }
}

/** Returns the id of the shared expert of [layer]. */
public fun sharedExpert(layer: Int): ExpertId = ExpertId(layer, RESERVED)

/** One tensor inside a block: [offset] counts float32 values from the block's start. */
public data class Part(public val name: String, public val shape: List<Int>, public val offset: Int) {
    /** The number of values. */
    public val size: Int get() = shape.fold(1, Int::times)
}

private fun parts(vararg named: Pair<String, List<Int>>): List<Part> {
    var offset = 0
    return named.map { (name, shape) -> Part(name, shape, offset).also { offset += it.size } }
}

/**
 * Returns the parts of an expert's block.
 *
 * `in` holds r rows of the down-projection, then the router row; `out` r rows of the up-projection, then the output
 * bias. So a layer's experts are two matrices, each used in one GEMM.
 */
public fun expertParts(width: Int, rank: Int): List<Part> =
    parts("in" to listOf(rank + 1, width), "bias" to listOf(rank), "out" to listOf(rank + 1, width))

/** Returns the parts of a shared expert's block (no router; the last row of `up` is the output bias). */
public fun sharedParts(width: Int, rank: Int): List<Part> =
    parts("down" to listOf(rank, width), "bias" to listOf(rank), "up" to listOf(rank + 1, width))

/** Returns the parts of the head's block. */
public fun headParts(width: Int, labels: Int): List<Part> =
    parts("weight" to listOf(labels, width), "bias" to listOf(labels))
