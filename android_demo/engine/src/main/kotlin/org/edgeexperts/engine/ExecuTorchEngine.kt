package org.edgeexperts.engine

import org.edgeexperts.core.Engine
import org.edgeexperts.core.EngineException
import org.edgeexperts.core.Program
import org.edgeexperts.core.TensorValue
import org.pytorch.executorch.DType
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.io.File

/** ExecuTorch's Android library. Touch it only where [findEngine] found the library. */
public class ExecuTorchEngine : Engine {
    override val name: String = "android executorch"

    /** The weights stay in the file: pages that the system may drop and read again. */
    override fun load(program: File, threads: Int): Program = guarded("cannot open ${program.name}") {
        ExecuTorchProgram(Module.load(program.path, Module.LOAD_MODE_MMAP, threads))
    }
}

private class ExecuTorchProgram(private val module: Module) : Program {
    override val methods: Set<String> = module.methods.toSet()

    override fun execute(method: String, inputs: List<TensorValue>): List<TensorValue> = guarded("$method failed") {
        val arguments = inputs.map { EValue.from(tensor(it)) }.toTypedArray()
        module.execute(method, *arguments).map { value(it.toTensor()) }
    }

    override fun close() = module.destroy()
}

private fun tensor(value: TensorValue): Tensor = when (value) {
    is TensorValue.Floats -> Tensor.fromBlob(value.values, value.shape)
    is TensorValue.Longs -> Tensor.fromBlob(value.values, value.shape)
}

private fun value(tensor: Tensor): TensorValue = when (tensor.dtype()) {
    DType.FLOAT -> TensorValue.Floats(tensor.shape(), tensor.dataAsFloatArray)
    DType.INT64 -> TensorValue.Longs(tensor.shape(), tensor.dataAsLongArray)
    else -> throw EngineException("an output is ${tensor.dtype()}, packages have float32 and int64; export it again")
}

/** The library throws unchecked exceptions of its own, and errors where its native part does not load. */
private inline fun <T> guarded(what: String, body: () -> T): T = try {
    body()
} catch (error: RuntimeException) {
    throw EngineException("ExecuTorch: $what (${error.message})", error)
} catch (error: LinkageError) {
    throw EngineException("ExecuTorch's native library does not load here (${error.message})", error)
}
