package org.edgeexperts.core

import org.edgeexperts.core.tokenizer.score
import java.io.File
import java.nio.file.Files
import kotlin.test.AfterTest
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class TokenizerTest {
    private val folder = Files.createTempDirectory("tokenizer").toFile()

    @AfterTest
    fun removeFolder() {
        folder.deleteRecursively()
    }

    private val answer by lazy { askPython("tokens.py", folder.path) }

    /** Real texts of many kinds, awkward ones, cut and whole: the same ids as on the Python device. */
    @Test
    fun realTextsHavePythonsIds() {
        val texts = answer["texts"].items.map { it as String }
        val expected = if (File(repository, "../shared/data").isDirectory) 6_000 else 1_000
        val said = answer["tokenizers"] as Map<*, *>
        val families = listOf("xlm-roberta", "t5", "albert", "llama2", "llama", "gemma", "unknown-characters", "gpt2", "roberta")
        val patterns = listOf("qwen2", "llama3", "qwen3.5", "o200k", "deepseek", "smollm")
        assertEquals(setOf<Any?>("wordpiece") + families + patterns, said.keys)
        val whole = listOf("wordpiece", "roberta", "xlm-roberta", "llama", "llama3", "qwen2") // a kind each
        for ((name, theirs) in said) {
            val tokenizer = Tokenizer.read(File(theirs["path"] as String))
            val length = (theirs["length"] as Long).toInt()
            val right = theirs["ids"].items
            assertTrue(right.size >= if (name in whole) expected else 1_000, "$name: ${right.size} texts")
            val wrong = texts.zip(right).mapNotNull { (text, ids) ->
                val ours = tokenizer.ids(text, length).toList()
                if (ours == ids) null else Triple(text, ours, ids)
            }
            assertEquals(emptyList(), wrong.take(3), "$name: ${wrong.size} of ${right.size} texts differ at length $length")
        }
        eachRefusalIsExports()
        scoresAreTheLibrarys()
    }

    private fun eachRefusalIsExports() {
        Tokenizer.read(File(answer["base"] as String))
        for (path in answer["refused"].items) {
            assertFailsWith<TokenizerException>(File(path as String).readText()) { Tokenizer.read(File(path)) }
        }
    }

    private fun scoresAreTheLibrarys() {
        val scores = answer["scores"].items.map { it.items }
        assertEquals(scores.map { it[1] }, scores.map { score(it[0] as String) })
        assertTrue(scores.any { (it[0] as String).toDouble() != it[1] }, "the library reads the nearest number: score() is needed no more")
    }

    private fun write(change: (String) -> String = { it }): File {
        val words = listOf("[PAD]", "[UNK]", "[CLS]", "[SEP]", "wake", "me", "##up", "up", "'", "cafe")
        val vocabulary = words.withIndex().joinToString { (id, word) -> "\"$word\": $id" }
        val added = listOf("[PAD]", "[UNK]", "[CLS]", "[SEP]").withIndex().joinToString { (id, word) ->
            """{"id": $id, "content": "$word", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}"""
        }
        val text = """{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [$added],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
              "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
              "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
              "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2]}, "[SEP]": {"id": "[SEP]", "ids": [3]}}},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 6, "vocab": {$vocabulary}}}"""
        return File(folder, "tokenizer.json").apply { writeText(change(text)) }
    }

    /** By hand: pieces, an unknown word, a word that is too long, accents. */
    @Test
    fun textsAreCutIntoPieces() {
        val tokenizer = Tokenizer.read(write())
        val ids = tokenizer.ids("Wake wakeup'me upwake wakeupup CAFÉ up", 12)
        assertContentEquals(longArrayOf(2, 4, 4, 6, 8, 5, 1, 1, 9, 7, 3), ids)
    }

    /** A bracket, a word and a bracket, none of which the vocabulary has; a token that is not special is found. */
    @Test
    fun specialTokensInATextAreText() {
        val sep = longArrayOf(2, 4, 1, 1, 1, 5, 3)
        assertContentEquals(sep, Tokenizer.read(write()).ids("wake [SEP]me", 8))
        val ordinary = write { it.replaceLast("\"special\": true", "\"special\": false") }
        assertContentEquals(longArrayOf(2, 4, 3, 5, 3), Tokenizer.read(ordinary).ids("wake [SEP]me", 8))
        val word = write { it.replaceLast("\"content\": \"[SEP]\"", "\"content\": \"wake\"").replaceLast("\"id\": 3", "\"id\": 4") }
        assertContentEquals(longArrayOf(2, 5, 1, 1, 3), Tokenizer.read(word).ids("me wake", 5)) // "w ake"
    }

    /** 256 code points for each of S tokens: of 4 tokens' room the 1,024 first count, and half a character is dropped. */
    @Test
    fun theEndOfALongTextIsNotRead() {
        val tokenizer = Tokenizer.read(write())
        assertContentEquals(longArrayOf(2, 4, 3), tokenizer.ids(" ".repeat(1020) + "wake me", 4))
        assertContentEquals(longArrayOf(2, 4, 3), tokenizer.ids("wa\ud83dke", 3))
    }

    private fun String.replaceLast(old: String, new: String): String =
        substringBeforeLast(old) + new + substringAfterLast(old)

    /** Special tokens survive the cut. */
    @Test
    fun longTextsAreCut() {
        val tokenizer = Tokenizer.read(write())
        assertContentEquals(longArrayOf(2, 4, 5, 3), tokenizer.ids("wake me up", 4))
        assertContentEquals(longArrayOf(2, 3), tokenizer.ids("wake me up", 2))
        assertFailsWith<IllegalArgumentException> { tokenizer.ids("wake me up", 1) }
    }

    /** A text is its own tokens, whatever padding the file names; an empty one has the special tokens alone. */
    @Test
    fun noTextIsPadded() {
        val path = write { it.replace("\"padding\": null", "\"padding\": {\"pad_id\": 7}") }
        assertContentEquals(longArrayOf(2, 5, 3), Tokenizer.read(path).ids("me", 5))
        assertContentEquals(longArrayOf(2, 3), Tokenizer.read(path).ids("", 5))
    }

    /** What would be tokenized in another way is refused, not approximated. */
    @Test
    fun otherKindsAreRefused() {
        fun refusal(old: String, new: String): String =
            assertFailsWith<TokenizerException> { Tokenizer.read(write { it.replace(old, new) }) }.message!!
        assertTrue("its model is \"WordLevel\", expected WordPiece, BPE or Unigram" in refusal("\"WordPiece\"", "\"WordLevel\""))
        assertTrue("its normalizer is \"Nmt\", expected BertNormalizer, " in refusal("\"BertNormalizer\"", "\"Nmt\""))
        assertTrue("its pre_tokenizer is \"Punctuation\", expected " in refusal("\"BertPreTokenizer\"", "\"Punctuation\""))
        val traits = write { it.replace("\"lstrip\": false", "\"lstrip\": true") }
        Tokenizer.read(traits) // all are special: no text is searched for them
        traits.writeText(traits.readText().replace("\"special\": true", "\"special\": false"))
        val refused = assertFailsWith<TokenizerException> { Tokenizer.read(traits) }.message!!
        assertTrue("an added token is [lstrip]" in refused, refused)
        assertTrue("its vocabulary lacks" in refusal("\"unk_token\": \"[UNK]\"", "\"unk_token\": \"<unk>\""))
        assertTrue("is no tokenizer" in refusal("{\"version\"", "{version"))
        assertFailsWith<TokenizerException> { Tokenizer.read(File(folder, "none.json")) }
    }
}
