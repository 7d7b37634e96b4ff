package org.edgeexperts.core.tokenizer

/** What a text becomes before it is cut. */
internal fun interface TextNormalizer {
    fun normalize(text: String): String
}

/** Cuts a piece of text into words, and may write them in another way. */
internal fun interface PreTokenizer {
    /** @param begins whether [piece] begins the text. */
    fun cut(piece: String, begins: Boolean): List<String>
}

/** Makes ids of a word. */
internal fun interface WordModel {
    fun ids(word: String): LongArray
}

/** What makes ids of a piece of text between added tokens: it is normalized, cut into words, and these are looked up. */
internal class TextPipeline(
    private val normalizers: List<TextNormalizer>,
    private val preTokenizers: List<PreTokenizer>,
    private val model: WordModel,
) {
    private val remembered = HashMap<String, LongArray>()

    /**
     * Returns the ids of a piece, without those behind the [most]-th.
     *
     * @param begins whether the text begins with [piece].
     */
    fun ids(piece: String, begins: Boolean, most: Int = Int.MAX_VALUE): LongArray {
        val normalized = normalizers.fold(piece) { text, normalizer -> normalizer.normalize(text) }
        var words = listOf(normalized)
        preTokenizers.forEachIndexed { stage, preTokenizer ->
            words = words.filter(String::isNotEmpty).flatMap { preTokenizer.cut(it, begins && stage == 0) }
        }
        val ids = ArrayList<LongArray>()
        var count = 0
        for (word in words) {
            if (count >= most) break
            if (word.isNotEmpty()) ids += idsOf(word).also { count += it.size }
        }
        return joined(ids, minOf(count, most))
    }

    private fun idsOf(word: String): LongArray {
        if (word.length > REMEMBERED_LENGTH) return model.ids(word)
        synchronized(remembered) { remembered[word] }?.let { return it }
        return model.ids(word).also { ids ->
            synchronized(remembered) {
                if (remembered.size >= REMEMBERED_WORDS) remembered.clear()
                remembered[word] = ids
            }
        }
    }

    private companion object {
        const val REMEMBERED_WORDS = 8192 // some 2 MB
        const val REMEMBERED_LENGTH = 64
    }
}

/** Returns the first [count] of all ids. */
internal fun joined(parts: List<LongArray>, count: Int): LongArray {
    val ids = LongArray(count)
    var place = 0
    for (part in parts) {
        val taken = minOf(part.size, count - place)
        part.copyInto(ids, place, 0, taken)
        place += taken
    }
    return ids
}
