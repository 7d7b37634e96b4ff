/**
 * Packages on a desktop JVM: the project's C library (edge_runtime/native/fl_runtime.h), the same that the Python device
 * loads, so that both compute the same bits. `python -m edge_runtime.native.build` builds it and says where it is.
 */
package org.edgeexperts.desktop

import com.sun.jna.Memory
import com.sun.jna.Native
import com.sun.jna.Pointer
import com.sun.jna.ptr.LongByReference
import org.edgeexperts.core.Engine
import org.edgeexperts.core.EngineException
import org.edgeexperts.core.Program
import org.edgeexperts.core.TensorValue
import java.io.File

private const val ABI_VERSION = 1
private const val OPEN_MMAP = 0

// Sizes and places of the header's structures, where pointers have eight bytes.
private const val METHOD_INFO_BYTES = 24L
private const val TENSOR_INFO_BYTES = 152L
private const val MAX_RANK = 16
private const val RANK_OFFSET = 136L
private const val DTYPE_OFFSET = 140L
private const val BUFFER_BYTES = 32L
private const val BUFFER_RANK_OFFSET = 24L
private const val BUFFER_DTYPE_OFFSET = 28L

private const val INT64 = 4
private const val FLOAT32 = 6

/** Names by fl_dtype of what is executed here. */
private val DTYPES = mapOf(INT64 to "int64", FLOAT32 to "float32")

/** The functions of fl_runtime.h that are used here. */
@Suppress("FunctionName") // as the header has them
internal interface FlRuntime : com.sun.jna.Library {
    fun fl_abi_version(): Int

    fun fl_executorch_version(): String

    fun fl_set_threads(count: Int): Int

    fun fl_last_error(text: ByteArray?, capacity: Long): Long

    fun fl_open(path: String, flags: Int, handle: LongByReference): Int

    fun fl_close(handle: Long): Int

    fun fl_methods(handle: Long, text: ByteArray?, capacity: Long, needed: LongByReference): Int

    fun fl_method(handle: Long, method: String, info: Pointer): Int

    fun fl_output(handle: Long, method: String, index: Int, info: Pointer): Int

    fun fl_unload(handle: Long, method: String): Int

    fun fl_execute(handle: Long, method: String, inputs: Pointer?, count: Int, outputs: Pointer?, outputCount: Int): Int
}

/**
 * The C library.
 *
 * @param library libfl_runtime.
 * @throws EngineException when it cannot be loaded or speaks another ABI.
 */
public class DesktopEngine(library: File) : Engine {
    private val native: FlRuntime = try {
        Native.load(library.path, FlRuntime::class.java)
    } catch (error: UnsatisfiedLinkError) {
        throw EngineException("cannot load $library: ${error.message}; build it with python -m edge_runtime.native.build", error)
    }

    init {
        val version = native.fl_abi_version()
        if (version != ABI_VERSION) {
            throw EngineException("$library has ABI $version, expected $ABI_VERSION; build it again")
        }
    }

    override val name: String get() = "desktop executorch ${native.fl_executorch_version()}"

    /** Opens a program; threads are those of the whole process, so the last program opened decides. */
    override fun load(program: File, threads: Int): Program {
        native.checked(native.fl_set_threads(threads))
        val handle = LongByReference()
        native.checked(native.fl_open(program.path, OPEN_MMAP, handle))
        return DesktopProgram(native, handle.value)
    }
}

private fun FlRuntime.checked(status: Int) {
    if (status == 0) return
    val text = ByteArray(fl_last_error(null, 0).toInt())
    fl_last_error(text, text.size.toLong())
    throw EngineException(Native.toString(text, "UTF-8").ifEmpty { "the C library gave no reason (status $status)" })
}

private class DesktopProgram(private val native: FlRuntime, private val handle: Long) : Program {
    private class Output(val shape: LongArray, val dtype: Int) {
        val count: Int get() = shape.fold(1L, Long::times).toInt()
    }

    private val outputs = HashMap<String, List<Output>>()
    private var open = true
    override val methods: Set<String> = names()

    private fun names(): Set<String> {
        val needed = LongByReference()
        native.checked(native.fl_methods(handle, null, 0, needed))
        val text = ByteArray(needed.value.toInt())
        native.checked(native.fl_methods(handle, text, text.size.toLong(), needed))
        return Native.toString(text, "UTF-8").lines().filter(String::isNotEmpty).toSet()
    }

    private fun outputsOf(method: String): List<Output> = outputs.getOrPut(method) {
        val about = Memory(METHOD_INFO_BYTES)
        native.checked(native.fl_method(handle, method, about))
        List(about.getInt(4)) { index ->
            val info = Memory(TENSOR_INFO_BYTES)
            native.checked(native.fl_output(handle, method, index, info))
            val shape = info.getLongArray(0, MAX_RANK).copyOf(info.getInt(RANK_OFFSET))
            Output(shape, info.getInt(DTYPE_OFFSET))
        }
    }

    override fun execute(method: String, inputs: List<TensorValue>): List<TensorValue> {
        val outputs = outputsOf(method)
        val buffers = Buffers(inputs.size + outputs.size)
        inputs.forEach(buffers::add)
        outputs.forEach { buffers.add(it.shape, it.dtype, it.count) }
        val (first, behind) = buffers.at(0) to buffers.at(inputs.size)
        native.checked(native.fl_execute(handle, method, first, inputs.size, behind, outputs.size))
        return outputs.mapIndexed { place, output -> read(output, buffers.data(inputs.size + place)) }
    }

    private fun read(output: Output, data: Memory): TensorValue = when (output.dtype) {
        FLOAT32 -> TensorValue.Floats(output.shape, data.getFloatArray(0, output.count))
        INT64 -> TensorValue.Longs(output.shape, data.getLongArray(0, output.count))
        else -> throw EngineException("an output has the type ${output.dtype}, expected one of ${DTYPES.values}")
    }

    override fun unload(method: String) = native.checked(native.fl_unload(handle, method))

    override fun close() {
        if (open) native.checked(native.fl_close(handle))
        open = false
    }
}

/** Tensors of a call in native memory: the structures, and what they point to. */
private class Buffers(count: Int) {
    private val structures = Memory(maxOf(1, count) * BUFFER_BYTES)
    private val tensors = ArrayList<Memory>()
    private val shapes = ArrayList<Memory>() // held, so that they stay until the call returned

    /** Where the structures from number [first] on are. */
    fun at(first: Int): Pointer = structures.share(minOf(first * BUFFER_BYTES, structures.size() - 1))

    fun data(place: Int): Memory = tensors[place]

    fun add(value: TensorValue) = when (value) {
        is TensorValue.Floats -> add(value.shape, FLOAT32, value.values.size).write(0, value.values, 0, value.values.size)
        is TensorValue.Longs -> add(value.shape, INT64, value.values.size).write(0, value.values, 0, value.values.size)
    }

    fun add(shape: LongArray, dtype: Int, count: Int): Memory {
        val bytes = count.toLong() * if (dtype == INT64) 8 else 4
        val (data, axes) = Memory(maxOf(1L, bytes)) to Memory(maxOf(1, shape.size) * 8L)
        axes.write(0, shape, 0, shape.size)
        val at = tensors.size * BUFFER_BYTES
        structures.setPointer(at, data)
        structures.setLong(at + 8, bytes)
        structures.setPointer(at + 16, axes)
        structures.setInt(at + BUFFER_RANK_OFFSET, shape.size)
        structures.setInt(at + BUFFER_DTYPE_OFFSET, dtype)
        tensors += data
        shapes += axes
        return data
    }
}
