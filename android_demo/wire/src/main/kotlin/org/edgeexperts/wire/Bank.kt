package org.edgeexperts.wire

private const val FEDERATION_KEY = "federation_digest"

/**
 * All trainable values of a model, float32, block by block; never changed once made.
 *
 * @property shape which blocks there are.
 */
public class Bank private constructor(public val shape: BankShape, private val blocks: Map<ExpertId, FloatArray>) {
    /** Whether the head favours any label; version 0's does not. A language model's is the backbone's own. */
    public val learned: Boolean get() = HEAD !in blocks || blocks.getValue(HEAD).any { it != 0f }

    /**
     * Returns the values of [block]; a copy.
     *
     * @throws BankException when there is no such block.
     */
    public fun block(block: ExpertId): FloatArray {
        shape.size(block)
        return blocks.getValue(block).copyOf()
    }

    /**
     * Returns a bank with some blocks replaced.
     *
     * @throws BankException for an unknown block or a wrong size.
     */
    public fun replace(changed: Map<ExpertId, FloatArray>): Bank {
        for ((block, values) in changed) {
            val expected = shape.size(block)
            if (values.size != expected) {
                throw BankException("block $block has ${values.size} values, expected $expected")
            }
        }
        return Bank(shape, blocks + changed.mapValues { it.value.copyOf() })
    }

    /**
     * Returns the digest of each block's little-endian bytes.
     *
     * @throws WireException NOT_FINITE.
     */
    public fun digests(): Map<ExpertId, ByteArray> = blocks.mapValues { sha256(encodeValues(it.value)) }

    /** Returns the version digest of this bank. */
    public fun digest(): ByteArray = versionDigest(digests())

    /**
     * Writes it as safetensors: experts [L, M, P], shared [L, Ps], head, mean.
     *
     * @param federation digest of the federation that it is for, kept in the metadata.
     */
    public fun toBytes(federation: ByteArray): ByteArray = writeSafetensors(
        shapes(shape).mapValues { (name, axes) -> NamedTensor.of(joined(name), axes) },
        mapOf(FEDERATION_KEY to hex(federation)),
    )

    private fun joined(name: String): FloatArray {
        val parts = tensorBlocks(shape).getValue(name).map(blocks::getValue)
        val values = FloatArray(parts.sumOf { it.size })
        parts.fold(0) { offset, block ->
            block.copyInto(values, offset)
            offset + block.size
        }
        return values
    }

    public companion object {
        /** Returns a bank of zeros: with it, a program computes the frozen backbone's own features. */
        public fun zeros(shape: BankShape): Bank = Bank(shape, shape.ids().associateWith { FloatArray(shape.size(it)) })

        /**
         * Puts a bank together.
         *
         * @throws BankException when a block lacks or has a wrong size.
         */
        public fun fromBlocks(shape: BankShape, blocks: Map<ExpertId, FloatArray>): Bank {
            val missing = shape.ids().filterNot(blocks::containsKey)
            if (missing.isNotEmpty()) {
                throw BankException("${missing.size} blocks of the bank are missing: ${missing.take(5).joinToString()}")
            }
            return zeros(shape).replace(blocks)
        }

        /**
         * Reads safetensors bytes.
         *
         * @param federation digest of the federation that it must be for: its labels stand in the same order, too.
         * @throws BankException for damaged bytes, no or another federation, missing tensors, wrong shapes, or NaN.
         */
        public fun fromBytes(data: ByteArray, shape: BankShape, federation: ByteArray, source: String = "bank"): Bank {
            val file = readSafetensors(data, source)
            checkFederation(file.metadata[FEDERATION_KEY], hex(federation), source)
            val tensors = file.tensors
            val wanted = shapes(shape)
            if (tensors.keys != wanted.keys) {
                throw BankException("$source holds ${shown(tensors.keys.sorted(), 200)}, expected ${wanted.keys}")
            }
            for ((name, axes) in wanted) {
                val tensor = tensors.getValue(name)
                if (tensor.dtype != "F32" || tensor.shape != axes) {
                    throw BankException("bank tensor $name is ${tensor.dtype}${tensor.shape}, expected F32$axes")
                }
            }
            val blocks = tensorBlocks(shape).flatMap { (name, ids) -> cut(tensors.getValue(name).floats(), ids, shape) }
            if (blocks.any { (_, values) -> values.any { it.isNaN() || it.isInfinite() } }) {
                throw BankException("$source holds NaN or infinity")
            }
            return Bank(shape, blocks.toMap())
        }

        private fun checkFederation(told: String?, wanted: String, source: String) {
            if (told == null) {
                throw BankException(
                    "$source does not say which federation it is for (its metadata have no $FEDERATION_KEY), so its labels may " +
                        "be others than this package's; train it again, or export the version again",
                )
            }
            if (told != wanted) {
                throw BankException(
                    "$source is for federation ${shown(told, 20)}, this package is of ${wanted.take(12)}…: labels or their " +
                        "order, backbone or initial bank differ; use the package that the bank was trained with",
                )
            }
        }

        private fun cut(values: FloatArray, ids: List<ExpertId>, shape: BankShape): List<Pair<ExpertId, FloatArray>> {
            var offset = 0
            return ids.map { block ->
                val end = offset + shape.size(block)
                (block to values.copyOfRange(offset, end)).also { offset = end }
            }
        }

        /** Which blocks stand in which tensor of a file, in their order. */
        private fun tensorBlocks(shape: BankShape): Map<String, List<ExpertId>> {
            val inLayers = shape.ids().filter { it.layer != RESERVED }
            return mapOf(
                "experts" to inLayers.filterNot(ExpertId::shared),
                "shared" to inLayers.filter(ExpertId::shared),
                "head" to shape.ids().filter { it == HEAD },
                "mean" to shape.ids().filter { it == MEAN },
            )
        }

        private fun shapes(shape: BankShape): Map<String, List<Long>> {
            val rows = shape.layers.size.toLong()
            return mapOf(
                "experts" to listOf(rows, shape.experts, shape.expertSize.toLong()),
                "shared" to listOf(rows, shape.sharedSize.toLong()),
                "head" to listOf(shape.headSize.toLong()),
                "mean" to listOf(shape.meanSize.toLong()),
            )
        }
    }
}
