package org.edgeexperts.engine

import org.edgeexperts.core.EngineException
import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** An app with ExecuTorch's library and one without it. */
class FindEngineTest {
    /** Without the library there is no engine, and nothing fails. */
    @Test
    fun withoutTheLibraryThereIsNone() = assertNull(findEngine(object : ClassLoader(null) {}))

    /** With its classes alone, as here, its native part is missing when a program is opened: the engine's own error says so. */
    @Test
    fun aLibraryThatDoesNotLoadIsNamed() {
        val engine = assertNotNull(findEngine())
        assertEquals("android executorch", engine.name)
        val failure = assertFailsWith<EngineException> { engine.load(File("program.pte"), threads = 1) }
        assertTrue("native library does not load here" in failure.message!!, failure.message)
    }
}
