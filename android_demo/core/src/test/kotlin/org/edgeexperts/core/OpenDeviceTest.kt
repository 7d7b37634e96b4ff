package org.edgeexperts.core

import org.junit.Rule
import org.junit.rules.TemporaryFolder
import java.io.File
import kotlin.test.Test
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class OpenDeviceTest {
    @get:Rule
    val temporary = TemporaryFolder()

    /** A package that continues texts is refused with what to do, before its program is opened. */
    @Test
    fun aLanguageModelIsRefused() {
        val toy = writeToy(File(temporary.root, "package"), language = true)
        val refusal = assertFailsWith<ConfigException> { openDevice(toy, File(temporary.root, "state"), Unopened) }
        assertTrue("classifies texts, the package is for the task causal-lm" in refusal.message!!)
    }

    private object Unopened : Engine {
        override val name = "unopened"

        override fun load(program: File, threads: Int): Program = error("a program was opened")
    }
}
