package org.edgeexperts.wire

import java.io.File
import java.nio.file.Files
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Sums of sites, which only gateways read. */
private val LEFT_OUT = setOf("PartialStatistics", "PartialSum")

class VectorsTest {
    private val cases = Case.readAll().filter { it.kind !in LEFT_OUT }

    /** The same bytes, the same verdict, the same meaning, in every language. */
    @Test
    fun everyVectorIsDecidedAlike() {
        val wrong = cases.mapNotNull { case ->
            val decision = decide(case)
            val alike = decision.verdict == case.expect && same(decision.meaning, case.meaning)
            if (alike) null else "${case.name}: expected ${case.expect}, decided $decision".take(300)
        }
        assertEquals(emptyList(), wrong)
    }

    /** No case is left out: as many as the files name, and every kind that is known here has some. */
    @Test
    fun everyCaseIsReplayed() {
        val start = Regex("\"name\": \"[a-z0-9_]+\",\\s+\"expect\"")
        val files = checkNotNull(casesFolder.listFiles()).groupBy { it.nameWithoutExtension in LEFT_OUT }
        val named = files.getValue(false).sumOf { start.findAll(it.readText()).count() }
        assertEquals(LEFT_OUT.size, files.getValue(true).size)
        assertEquals(named, cases.size)
        assertTrue(named > 400, "$named cases")
        assertEquals(KINDS, cases.map { it.kind }.toSet())
    }

    private fun replay(kind: String, text: String) {
        val folder = Files.createTempDirectory("cases").toFile()
        try {
            File(folder, "$kind.json").writeText(text)
            Case.readAll(folder).forEach(::decide)
        } finally {
            folder.deleteRecursively()
        }
    }

    /** A case of tomorrow must not pass unread. */
    @Test
    fun anUnknownKindOrKeyFails() {
        fun replayed(kind: String, more: String, bytes: String = "[]") =
            replay(kind, """[{"name": "a", "expect": "ACCEPT", "comment": "", "bytes": $bytes $more}]""")
        replayed("Bye", "")
        replayed("Bye", """, "context": {"limit": 1}""", """[{"hex": "00"}, {"text": "a"}]""")
        val refused = listOf(
            Triple("Rumour", "", "[]"),
            Triple("Bye", """, "mood": 1""", "[]"),
            Triple("Bye", """, "context": {"mood": 1}""", "[]"),
            Triple("Bye", "", """[{"base64": "AA=="}]"""),
            Triple("Bye", "", """[{"hex": "00", "text": "a"}]"""),
        )
        for ((kind, more, bytes) in refused) assertFailsWith<IllegalArgumentException> { replayed(kind, more, bytes) }
        assertFailsWith<IllegalArgumentException> { replay("Bye", """[{"name": "a", "expect": "ACCEPT", "bytes": []}]""") }
    }

    /** The comparison itself tells values apart. */
    @Test
    fun meaningsAreComparedAsValues() {
        assertTrue(same(mapOf("a" to listOf(1L, 2.0)), mapOf("a" to listOf(1.0, 2L))))
        assertTrue(!same(mapOf("a" to 1L), mapOf("a" to 1L, "b" to null)))
        assertTrue(!same(listOf(1L), listOf(1.5)))
        assertTrue(!same("1", 1L))
    }
}
