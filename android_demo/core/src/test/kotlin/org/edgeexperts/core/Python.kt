/** The Python implementation, asked at test time: what it says is compared, nothing of it is kept in the repository. */
package org.edgeexperts.core

import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.unhex
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.test.assertEquals
import kotlin.test.assertTrue

val repository: File =
    File(checkNotNull(System.getProperty("repository.root")) { "run the tests with Maven" }).canonicalFile
private val interpreter = File(checkNotNull(System.getProperty("python")) { "run the tests with Maven" })
private const val ANSWER_LIMIT = 64 * 1024 * 1024

/** Starts a script of src/test/python; its errors go where the test's go. */
fun startPython(script: String, vararg arguments: String): Process {
    assertTrue(interpreter.canExecute(), "no Python at $interpreter: make setup-dev, or mvn -Dpython=...")
    val path = File(repository, "android_demo/core/src/test/python/$script")
    return ProcessBuilder(interpreter.path, path.path, *arguments)
        .directory(repository)
        .apply { environment()["PYTHONPATH"] = repository.path }
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start()
}

/** Runs a script and returns the JSON that it prints. */
fun askPython(script: String, vararg arguments: String): Any? {
    val process = startPython(script, *arguments)
    val printed = process.inputStream.readBytes()
    assertEquals(0, process.waitFor(), "$script failed")
    return parseJson(printed, script, ANSWER_LIMIT)
}

/** Bytes that a script printed in hex. */
fun unhex(text: Any?): ByteArray = unhex(text as String)

/** Float32 values that a script printed in hex. */
fun unhexFloats(text: Any?): FloatArray = unhex(text).let { data ->
    FloatArray(data.size / 4).also { ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(it) }
}

/** A part of a JSON object that a script printed. */
@Suppress("UNCHECKED_CAST") // a parsed object has texts for keys
operator fun Any?.get(name: String): Any? = (this as Map<String, Any?>).getValue(name)

/** The items of a list that a script printed. */
val Any?.items: List<Any?> get() = this as List<Any?>
