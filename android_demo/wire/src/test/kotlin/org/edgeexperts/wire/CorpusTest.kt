package org.edgeexperts.wire

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

private const val ANSWER_LIMIT = 256 * 1024 * 1024

class CorpusTest {
    /** What the fuzzers kept of Python's ways is decided alike here; Python says what it decides when the test runs. */
    @Test
    fun everyInputOfTheFuzzersIsDecidedAlike() {
        val inputs = decidedByPython()
        val wrong = inputs.mapNotNull { case ->
            val decision = decision(case)
            val alike = decision.verdict == case.expect && same(decision.meaning, case.meaning)
            if (alike) null else "${case.name}: Python decides ${case.expect} ${case.meaning}, here $decision".take(600)
        }
        assertEquals(emptyList(), wrong)
        assertTrue(inputs.size > 400, "${inputs.size} inputs")
        assertTrue(inputs.count { it.expect == "ACCEPT" } > 50)
    }

    private fun decision(case: Case): Decision {
        if (case.kind != "strict_json") return decide(case)
        return try {
            parseJson(case.data, case.name)
            Decision("ACCEPT", null)
        } catch (_: PackageException) {
            Decision("REFUSED", null)
        }
    }

    private fun decidedByPython(): List<Case> {
        val python = checkNotNull(System.getProperty("python")) { "run the tests with Maven" }
        val script = "android_demo/wire/src/test/python/corpus.py"
        val process = ProcessBuilder(python, script)
            .directory(repository)
            .apply { environment()["PYTHONPATH"] = repository.path }
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start()
        val printed = process.inputStream.readBytes()
        assertEquals(0, process.waitFor(), "$script failed")
        return (parseJson(printed, script, ANSWER_LIMIT) as List<*>).map { tree ->
            tree as Map<*, *>
            Case(
                name = "${tree["kind"]}/${tree["name"]}",
                kind = tree["kind"] as String,
                data = unhex(tree["hex"] as String),
                expect = tree["expect"] as String,
                context = tree["context"] as Map<*, *>,
                meaning = tree["meaning"] as Map<*, *>?,
            )
        }
    }
}
