package org.edgeexperts.wire

import java.io.File
import java.nio.file.Files
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class VectorsTest {
    private val cases = Case.readAll(casesFolder)

    /** The same bytes, the same verdict, the same meaning, in every language. */
    @Test
    fun everyVectorIsDecidedAlike() {
        val wrong = cases.mapNotNull { case ->
            val found = decide(case)
            val alike = found.verdict == case.expect && same(found.meaning, case.meaning)
            if (alike) null else "${case.name}: expected ${case.expect}, decided ${found.verdict} ${found.meaning}".take(300)
        }
        assertEquals(emptyList(), wrong)
    }

    /** No case is left out: as many as files, and every kind that is known here has some. */
    @Test
    fun everyCaseIsReplayed() {
        val files = casesFolder.walkTopDown().count { it.extension == "bin" }
        assertEquals(files, cases.size)
        assertTrue(files > 400, "$files cases")
        assertEquals(KINDS, cases.map { it.kind }.toSet())
    }

    /** A case of tomorrow must not pass unread. */
    @Test
    fun anUnknownKindOrKeyFails() {
        fun replay(text: String) {
            val folder = Files.createTempDirectory("cases").toFile()
            try {
                File(folder, "case.json").writeText(text)
                File(folder, "case.bin").writeBytes(ByteArray(0))
                Case.readAll(folder).forEach(::decide)
            } finally {
                folder.deleteRecursively()
            }
        }
        replay("""{"kind": "Bye", "expect": "ACCEPT", "comment": ""}""")
        assertFailsWith<IllegalArgumentException> { replay("""{"kind": "Rumour", "expect": "ACCEPT", "comment": ""}""") }
        assertFailsWith<IllegalArgumentException> { replay("""{"kind": "Bye", "expect": "ACCEPT", "mood": ""}""") }
        assertFailsWith<IllegalArgumentException> {
            replay("""{"kind": "Bye", "expect": "ACCEPT", "comment": "", "context": {"mood": 1}}""")
        }
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
