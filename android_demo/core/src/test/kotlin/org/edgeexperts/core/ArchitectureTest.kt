package org.edgeexperts.core

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** Arrows between the modules, read from the imports of the real files. */
class ArchitectureTest {
    private fun sources(module: String): List<File> =
        File(repository, "android_demo/$module/src/main/kotlin").walkTopDown().filter { it.extension == "kt" }.toList()

    private fun imports(file: File) = file.readLines().filter { it.startsWith("import ") }.map { it.removePrefix("import ") }

    private fun outside(module: String, vararg allowed: String): List<String> {
        val files = sources(module)
        assertTrue(files.size > 10, "$module has ${files.size} files")
        return files.flatMap { file ->
            imports(file).filter { name -> allowed.none(name::startsWith) }.map { "${file.name} imports $it" }
        }
    }

    /** The contract knows the schema's classes, signatures and the JDK's small parts: no core, no network, no Android. */
    @Test
    fun theContractStandsAlone() {
        val java = arrayOf("java.io.", "java.math.", "java.nio.", "java.security.", "java.util.", "javax.crypto.", "kotlin.")
        val own = arrayOf("org.edgeexperts.wire.", "com.google.protobuf.", "com.google.crypto.tink.subtle.")
        assertEquals(emptyList(), outside("wire", *java, *own))
    }

    /** Core meets the contract and the JVM; nothing of Android, so that it is tested here. */
    @Test
    fun coreRunsOnAnyJvm() {
        val paho = "org.eclipse.paho."
        assertEquals(emptyList(), outside("core", "org.edgeexperts.core.", "org.edgeexperts.wire.", "java.", "javax.net.ssl.", "kotlin.", paho))
        val drivers = sources("core").filter { file -> imports(file).any { it.startsWith(paho) } }
        assertEquals(listOf("MqttLink.kt"), drivers.map { it.name })
    }

    /** An engine is small: it meets core, and ExecuTorch's classes in one file. Android is met by what works in the background alone. */
    @Test
    fun anEngineMeetsExecuTorchAlone() {
        fun users(module: String, of: String) = sources(module).filter { file -> imports(file).any { it.startsWith(of) } }.map { it.name }
        assertEquals(listOf("ExecuTorchEngine.kt"), users("engine", "org.pytorch."))
        assertEquals(emptyList(), listOf("wire", "core", "desktop", "background").flatMap { users(it, "org.pytorch.") })
        assertEquals(emptyList(), listOf("wire", "core", "desktop", "engine").flatMap { users(it, "android.") })
    }

    /** What is to be done is decided without Android. */
    @Test
    fun theAgendaIsPure() {
        val agenda = sources("background").single { it.name == "Agenda.kt" }
        assertEquals(emptyList(), imports(agenda).filterNot { it.startsWith("org.edgeexperts.core.") || it.startsWith("org.edgeexperts.wire.") })
    }

    /** What calls native code on a desktop stands apart: an app does not carry it. */
    @Test
    fun onlyTheDesktopEngineMeetsNativeCode() {
        val users = listOf("wire", "core", "desktop").flatMap(::sources).filter { file -> imports(file).any { it.startsWith("com.sun.") } }
        assertEquals(listOf("DesktopEngine.kt"), users.map { it.name })
    }

    /** Decisions take values and return values. */
    @Test
    fun decisionsDoNoInputOrOutput() {
        val pure = setOf("Session.kt", "Budget.kt", "Gate.kt", "Slots.kt", "DeltaBuilder.kt", "Tiers.kt", "Heterogeneity.kt", "Carry.kt", "Timers.kt")
        val (tokenizer, others) = sources("core").partition { it.parentFile.name == "tokenizer" }
        val files = tokenizer + others.filter { it.name in pure }
        assertEquals(pure.size, files.size - tokenizer.size)
        val impure = listOf("java.io.", "java.net.", "java.nio.", "java.util.concurrent.", "kotlin.concurrent.", "kotlin.random.")
        assertEquals(emptyList(), files.flatMap(::imports).filter { name -> impure.any(name::startsWith) })
    }
}
