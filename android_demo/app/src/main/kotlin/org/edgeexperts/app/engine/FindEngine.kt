package org.edgeexperts.app.engine

import org.edgeexperts.core.Engine

private const val RUNTIME = "org.pytorch.executorch.Module"

/** Returns ExecuTorch's Android library as an engine; null where this build of the app was made without it. */
fun findEngine(): Engine? = try {
    Class.forName(RUNTIME, false, Engine::class.java.classLoader)
    ExecuTorchEngine()
} catch (_: ClassNotFoundException) {
    null
}
