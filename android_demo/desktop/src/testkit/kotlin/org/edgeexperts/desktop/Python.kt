/** The Python implementation, asked at test time: what it says is compared, nothing of it is kept in the repository. */
package org.edgeexperts.desktop

import org.edgeexperts.wire.parseJson
import org.edgeexperts.wire.unhex
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.test.assertEquals

private const val ANSWER_LIMIT = 64 * 1024 * 1024
private val repository = File(property("repository.root")).canonicalFile
private val scripts = File(repository, "android_demo/desktop/src/test/python")

private fun property(name: String) = checkNotNull(System.getProperty(name)) { "run the tests with Maven" }

/** Starts a script of src/test/python, or a module with -m; its errors go where the test's go. */
fun startPython(vararg words: String): Process {
    val first = if (words[0] == "-m") arrayOf("-m") else arrayOf(File(scripts, words[0]).path)
    return ProcessBuilder(property("python"), *first, *words.drop(1).toTypedArray())
        .directory(repository)
        .apply { environment()["PYTHONPATH"] = repository.path }
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start()
}

/** Runs it and returns the JSON that it prints. */
fun askPython(vararg words: String): Any? {
    val process = startPython(*words)
    val printed = process.inputStream.readBytes()
    assertEquals(0, process.waitFor(), "${words.toList()} failed")
    return parseJson(printed, words[0], ANSWER_LIMIT)
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
val Any?.items: List<Any?> get() = this as List<*>

/** A number that a script printed. */
val Any?.number: Double get() = (this as Number).toDouble()

/** A whole number that a script printed. */
val Any?.whole: Int get() = (this as Long).toInt()

/** The engine over the C library, built once by Python. */
val engine: DesktopEngine by lazy { DesktopEngine(File(askPython("-m", "edge_runtime.native.build", "--json")["library"] as String)) }

/** Packages and texts of little.py. */
object TestPackages {
    private val paths by lazy { askPython("little.py", File(repository, "android_demo/desktop/target/little").path) }

    fun packageFolder(name: String): File = File(paths["packages"][name] as String)

    fun texts(name: String): File = File(paths["data"][name] as String)
}
