package org.edgeexperts.desktop

import org.edgeexperts.wire.parseJson
import java.io.File
import java.util.concurrent.TimeUnit
import kotlin.test.assertEquals
import kotlin.test.assertTrue

private const val LIMIT_S = 120L

/** A gateway and Python devices in processes of their own. */
class Federation(folder: File, steps: Int, vararg names: String, packageName: String = "soft") : AutoCloseable {
    private val process = startPython(
        "federation.py", folder.path, TestPackages.packageFolder(packageName).path, "$steps",
        *names.map { "$it=${TestPackages.texts(it)}" }.toTypedArray(),
    )
    private val printed = process.inputStream.bufferedReader()
    val enrolmentFile = File(checkNotNull(printed.readLine()) { "the gateway did not start" })

    /** Waits for its end and returns what it told. */
    fun told(): Any? = parseJson(printed.readText().toByteArray(), "federation.py").also {
        assertTrue(process.waitFor(LIMIT_S, TimeUnit.SECONDS))
        assertEquals(0, process.exitValue())
    }

    override fun close() {
        process.destroy()
        process.waitFor()
    }
}
