package org.edgeexperts.core.tokenizer

import java.util.Base64

private const val LONGEST_CLUSTER = 5 // bytes of a cluster that is looked up as a whole

/**
 * SentencePiece's table of characters and what becomes of them, in the format of its models (`precompiled_charsmap`): the
 * size of a double array in bytes, 32 bits; the double array, a trie of UTF-8 bytes as Darts-clone lays it out, 32 bits a
 * node; and the replacements in UTF-8, each with a zero byte behind it. All numbers are little-endian.
 *
 * It is used as the tokenizers library uses it: by clusters (see [clusterEnd]), of which the shortest beginning that the
 * table has decides. SentencePiece itself takes the longest.
 *
 * @param data the table.
 * @throws IllegalArgumentException when it is none.
 */
internal class Charsmap(private val data: ByteArray) : TextNormalizer {
    private val nodes: IntArray
    private val replacements: Int // where they begin

    init {
        require(data.size >= Int.SIZE_BYTES) { "${data.size} bytes" }
        val size = word(0)
        require(size > 0 && size % Int.SIZE_BYTES == 0 && size <= data.size - Int.SIZE_BYTES) { "an array of $size bytes in ${data.size}" }
        nodes = IntArray(size / Int.SIZE_BYTES) { word(Int.SIZE_BYTES * (it + 1)) }
        replacements = Int.SIZE_BYTES + size
    }

    private val ascii = Array(ASCII_END) { replacement(string(it)) }

    override fun normalize(text: String): String {
        val normalized = StringBuilder(text.length)
        var start = 0
        while (start < text.length) {
            val end = clusterEnd(text, start)
            val first = text[start].code
            val replaced = if (end - start == 1 && first < ASCII_END) ascii[first] else ofCluster(text.substring(start, end))
            if (replaced == null) normalized.append(text, start, end) else normalized.append(replaced)
            start = end
        }
        return normalized.toString()
    }

    private fun ofCluster(cluster: String): String? {
        if (cluster.toByteArray(Charsets.UTF_8).size <= LONGEST_CLUSTER) replacement(cluster)?.let { return it }
        return if (cluster.codePointCount(0, cluster.length) > 1) mapCodePoints(cluster) { replacement(string(it)) } else null
    }

    /** Returns what stands for the shortest beginning of [part] that the table has, or null. */
    private fun replacement(part: String): String? {
        var place = offset(nodes[0])
        for (byte in part.toByteArray(Charsets.UTF_8)) {
            val label = byte.toInt() and 0xFF
            if (label == 0) return null
            val next = place xor label
            val node = nodes.getOrNull(next) ?: return null
            if (node and LABEL_BITS != label) return null
            place = next xor offset(node)
            if (node ushr 8 and 1 == 1) return nodes.getOrNull(place)?.let { textAt(it and Int.MAX_VALUE) }
        }
        return null
    }

    private fun offset(node: Int) = node ushr 10 shl (node and (1 shl 9) ushr 6)

    private fun word(at: Int): Int = (Int.SIZE_BYTES - 1 downTo 0).fold(0) { word, byte -> word shl 8 or (data[at + byte].toInt() and 0xFF) }

    private fun textAt(offset: Int): String? {
        if (offset >= data.size - replacements) return null
        val start = replacements + offset
        var end = start
        while (end < data.size && data[end] != 0.toByte()) end++
        return String(data, start, end - start, Charsets.UTF_8)
    }

    companion object {
        private const val LABEL_BITS = 1 shl 31 or 0xFF

        /** @throws IllegalArgumentException when [text] is no table in base64. */
        fun read(text: String): Charsmap = Charsmap(Base64.getDecoder().decode(text))
    }
}
