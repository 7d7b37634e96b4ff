package org.edgeexperts.desktop

import org.edgeexperts.core.DeviceState
import org.edgeexperts.core.PartOptions
import org.edgeexperts.wire.Enrolment
import java.io.BufferedReader
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicBoolean

/** A device in a JVM of its own, which a test may kill. */
object DeviceProcess {
    /**
     * Takes part as `cy`: state folder, enrolment file, step of round 1 at which it hangs (0: none). Prints the step that
     * its training begins after, and "hangs" between that step and its checkpoint.
     */
    @JvmStatic
    fun main(words: Array<String>) {
        val (state, enrolment) = words.map(::File)
        val hang = words[2].toInt()
        val begun = AtomicBoolean()
        fun show(now: DeviceState) {
            if (now.steps > 0 && !begun.getAndSet(true)) println("begins after ${now.step}")
            if (hang > 0 && now.round == 1L && now.step == hang) {
                println("hangs")
                CountDownLatch(1).await()
            }
        }
        deviceWith("cy", state).use { device ->
            device.listen(::show)
            device.takePart(Enrolment.fromJson(enrolment.readBytes()), PartOptions(checkpointSeconds = 0.0)).await()
        }
    }

    fun start(state: File, enrolment: File, hang: Int): Process {
        val kept = listOf("repository.root", "python").map { "-D$it=${System.getProperty(it)}" }
        val classes = System.getProperty("surefire.test.class.path") ?: System.getProperty("java.class.path")
        val java = File(System.getProperty("java.home"), "bin/java").path
        val line = listOf(java, "-XX:TieredStopAtLevel=1", "-Xmx256m") + kept +
            listOf("-cp", classes, DeviceProcess::class.java.name, state.path, enrolment.path, "$hang")
        return ProcessBuilder(line).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    }

    /** Reads a process's lines until one starts with [start]. */
    fun await(lines: BufferedReader, start: String): String =
        checkNotNull(generateSequence(lines::readLine).find { it.startsWith(start) }) { "it ended without '$start'" }
}
