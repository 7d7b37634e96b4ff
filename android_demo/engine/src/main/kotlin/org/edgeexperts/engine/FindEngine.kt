package org.edgeexperts.engine

import org.edgeexperts.core.Engine

private const val RUNTIME = "org.pytorch.executorch.Module"

/**
 * Returns ExecuTorch's Android library as an engine; null where this build of the app was made without it.
 *
 * @param classes where the library's classes are looked for: the app's own.
 */
public fun findEngine(classes: ClassLoader? = Engine::class.java.classLoader): Engine? = try {
    Class.forName(RUNTIME, false, classes)
    ExecuTorchEngine()
} catch (_: ClassNotFoundException) {
    null
}
