/**
 * What executes a package's program.pte: the one thing that a device needs from outside.
 *
 * On a phone this is ExecuTorch's Android library, in tests and on a desktop the project's own C library. A program's
 * file does not name its tensors; the package's manifest does, and the device gives and takes them in its order.
 */
package org.edgeexperts.core

import java.io.Closeable
import java.io.File

/**
 * One tensor of a call, dense and row-major.
 *
 * Packages have float32 and int64 tensors and no other (SPEC.md, "Manifest"). The arrays are not copied: who makes a
 * value does not change them any more.
 */
public sealed class TensorValue {
    /** Its axes; none for a single number. */
    public abstract val shape: LongArray

    /** The number of values in its array. */
    protected abstract val count: Int

    protected fun checkCount() {
        val expected = shape.fold(1L, Long::times)
        require(expected == count.toLong()) { "$count values came for the shape ${shape.toList()}, expected $expected" }
    }

    /** float32. */
    public class Floats(public override val shape: LongArray, public val values: FloatArray) : TensorValue() {
        override val count: Int get() = values.size

        init {
            checkCount()
        }
    }

    /** int64. */
    public class Longs(public override val shape: LongArray, public val values: LongArray) : TensorValue() {
        override val count: Int get() = values.size

        init {
            checkCount()
        }
    }
}

/** Opens programs; one implementation for each runtime. */
public interface Engine {
    /** What this is, as the gateway is told: one plain line of at most 200 bytes, such as "android executorch 1.3.0". */
    public val name: String

    /**
     * Opens a program; its methods are loaded when they are first executed.
     *
     * @param program a .pte file whose digest was checked; it does not change while it is open.
     * @param threads that kernels should use; an engine that cannot choose takes its own.
     * @throws EngineException when the file is none, or needs what this engine has not.
     */
    public fun load(program: File, threads: Int): Program
}

/** An opened program. The device calls it from one thread at a time, though not always from the same. */
public interface Program : Closeable {
    /** Names of its methods. */
    public val methods: Set<String>

    /**
     * Runs a method.
     *
     * @param method one of [methods].
     * @param inputs every input, in the order of the manifest.
     * @return every output, in the order of the manifest; arrays that the program does not use any more.
     * @throws EngineException when an input is not what the method takes, or the method failed.
     */
    public fun execute(method: String, inputs: List<TensorValue>): List<TensorValue>

    /** Frees a method's packed weights, where the engine can; it is loaded again when it is next executed. */
    public fun unload(method: String) {}
}
