/** What a process can tell of its own memory, where the system has /proc: Linux, and Android for one's own process. */
package org.edgeexperts.core

import java.io.File
import java.io.IOException

private const val KIB_PER_MIB = 1024.0

/** Most memory that this process ever had resident, in MiB; 0 where the system does not tell. */
internal fun peakMemoryMib(): Double = (fieldKib("/proc/self/status", "VmHWM") ?: 0L) / KIB_PER_MIB

/** What this process holds and could still get; an app that knows the temperature says it itself. */
internal fun readMemory(): Signal {
    val free = fieldKib("/proc/meminfo", "MemAvailable") ?: return Signal()
    val mine = fieldKib("/proc/self/status", "VmRSS") ?: return Signal()
    return Signal(roomMib = (free + mine) / KIB_PER_MIB)
}

/** Whether less is free than is left to others; false where the system does not tell. */
internal fun shortOfMemory(): Boolean = fieldKib("/proc/meminfo", "MemAvailable")?.let { it / KIB_PER_MIB < RESERVE_MIB } ?: false

private fun fieldKib(path: String, name: String): Long? = try {
    File(path).useLines { lines ->
        lines.find { it.startsWith("$name:") }?.split(Regex("\\s+"))?.getOrNull(1)?.toLongOrNull()
    }
} catch (_: IOException) {
    null
}
