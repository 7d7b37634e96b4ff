/** Ways to cut a text into words; those of BERT and of byte-level BPE have files of their own. */
package org.edgeexperts.core.tokenizer

/** Cuts at white space, which is dropped. */
internal object WhitespaceSplit : PreTokenizer {
    override fun cut(piece: String, begins: Boolean): List<String> {
        val words = ArrayList<String>()
        var start = 0
        for (place in 0..piece.length) { // all white space has one UTF-16 unit
            if (place < piece.length && !whiteSpace(piece[place].code)) continue
            if (place > start) words += piece.substring(start, place)
            start = place + 1
        }
        return words
    }
}

/** Where [Metaspace] puts a mark before a text that has none: nowhere, before what begins the text, or before every piece. */
internal enum class Prefix { NEVER, FIRST, ALWAYS }

/**
 * SentencePiece's: spaces become marks, and each mark begins a word.
 *
 * @param mark one character.
 * @param words whether pieces are cut at their marks.
 */
internal class Metaspace(private val mark: String, private val prefix: Prefix, private val words: Boolean) : PreTokenizer {
    override fun cut(piece: String, begins: Boolean): List<String> {
        val marked = piece.replace(" ", mark)
        val prefixed = prefix == Prefix.ALWAYS || prefix == Prefix.FIRST && begins
        val text = if (prefixed && !marked.startsWith(mark)) mark + marked else marked
        if (!words) return listOf(text)
        val starts = generateSequence(text.indexOf(mark)) { text.indexOf(mark, it + mark.length) }.takeWhile { it >= 0 }.toList()
        val ends = listOf(0) + starts + text.length
        return ends.zipWithNext { start, end -> text.substring(start, end) }
    }
}

/** Where what a pattern matches goes. */
internal enum class Delimiter { ISOLATED, REMOVED, CONTIGUOUS, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT }

/**
 * Cuts at what a pattern matches.
 *
 * @param inverted whether what stands between the matches counts as matched.
 */
internal class Split(private val pattern: TextPattern, private val delimiter: Delimiter, private val inverted: Boolean) : PreTokenizer {
    override fun cut(piece: String, begins: Boolean): List<String> {
        val cuts = pattern.cuts(piece).map { if (inverted) Cut(it.start, it.end, !it.matched) else it }
        return when (delimiter) {
            Delimiter.ISOLATED -> cuts
            Delimiter.REMOVED -> cuts.filterNot { it.matched }
            Delimiter.CONTIGUOUS -> grouped(cuts) { before, cut -> before.matched == cut.matched }
            Delimiter.MERGED_WITH_PREVIOUS -> grouped(cuts) { before, cut -> cut.matched && !before.matched }
            Delimiter.MERGED_WITH_NEXT -> grouped(cuts.asReversed()) { before, cut -> cut.matched && !before.matched }.asReversed()
        }.map { it.of(piece) }
    }

    /** Puts together each cut and the one before it, in either direction, where [together] says so. */
    private fun grouped(cuts: List<Cut>, together: (Cut, Cut) -> Boolean): List<Cut> {
        val groups = ArrayList<Cut>()
        cuts.forEachIndexed { place, cut ->
            val group = groups.lastOrNull()
            if (group != null && together(cuts[place - 1], cut)) {
                groups[groups.lastIndex] = Cut(minOf(group.start, cut.start), maxOf(group.end, cut.end), cut.matched)
            } else {
                groups += cut
            }
        }
        return groups
    }
}
