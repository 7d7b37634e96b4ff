package org.edgeexperts.app.ui

/**
 * Whose work is in the app.
 *
 * @property file of its text, in the assets.
 */
data class Licence(val work: String, val name: String, val file: String)

/** Everything that an APK of this project contains. */
val LICENCES: List<Licence> = listOf(
    Licence("Edge Experts", "Apache-2.0", "licences/apache-2.0.txt"),
    Licence("ExecuTorch", "BSD-3-Clause", "licences/executorch.txt"),
    Licence("XNNPACK and others in it", "BSD, MIT", "licences/in-executorch.txt"),
    Licence("LLVM libc++", "Apache-2.0", "licences/apache-2.0.txt"),
    Licence("fbjni, SoLoader", "Apache-2.0", "licences/apache-2.0.txt"),
    Licence("Kotlin", "Apache-2.0", "licences/apache-2.0.txt"),
    Licence("Tink", "Apache-2.0", "licences/apache-2.0.txt"),
    Licence("Protocol Buffers", "BSD-3-Clause", "licences/protobuf.txt"),
    Licence("Eclipse Paho", "EDL-1.0", "licences/paho.txt"),
)
