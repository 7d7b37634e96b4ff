package org.edgeexperts.core

import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.MethodSpec
import org.edgeexperts.wire.TensorSpec
import java.io.Closeable

/** Tensors by the names that the manifest gives them. */
public typealias Tensors = Map<String, TensorValue>

/** Runs methods by name, tensors by name. */
public interface Executor {
    /**
     * Runs [method].
     *
     * @throws EngineException naming the tensor that lacks or does not fit, or why the method failed.
     */
    public fun execute(method: String, inputs: Tensors): Tensors

    /** Frees a method's packed weights, where the engine can. */
    public fun unload(method: String)
}

/**
 * A program whose tensors have names: the file has none, the manifest does. One thread at a time executes; others wait
 * their turn.
 *
 * @throws EngineException when the file lacks a method of the manifest.
 */
public class NamedProgram(private val program: Program, private val manifest: Manifest) : Executor, Closeable {
    init {
        val missing = manifest.methods.keys - program.methods
        if (missing.isNotEmpty()) {
            throw EngineException("the program lacks the methods $missing of its manifest; copy the package again")
        }
    }

    override fun execute(method: String, inputs: Tensors): Tensors {
        val spec = manifest.methods[method] ?: throw EngineException("the package has no method $method")
        val ordered = inOrder(method, spec, inputs)
        val outputs = synchronized(this) { program.execute(method, ordered) }
        if (outputs.size != spec.outputs.size) {
            throw EngineException("$method gave ${outputs.size} tensors, expected ${spec.outputs.size}")
        }
        return spec.outputs.indices.associate { place ->
            val tensor = spec.outputs[place]
            tensor.name to checked(method, "output", tensor, outputs[place])
        }
    }

    private fun inOrder(method: String, spec: MethodSpec, inputs: Tensors): List<TensorValue> {
        val unknown = inputs.keys - spec.inputs.map(TensorSpec::name).toSet()
        if (unknown.isNotEmpty()) throw EngineException("$method has no inputs $unknown")
        return spec.inputs.map { tensor ->
            val value = inputs[tensor.name] ?: throw EngineException("$method: input ${tensor.name} is missing")
            checked(method, "input", tensor, value)
        }
    }

    private fun checked(method: String, way: String, tensor: TensorSpec, value: TensorValue): TensorValue {
        val dtype = if (value is TensorValue.Floats) "float32" else "int64"
        if (dtype != tensor.dtype || value.shape.toList() != tensor.shape) {
            val (came, wanted) = "$dtype${value.shape.toList()}" to "${tensor.dtype}${tensor.shape}"
            throw EngineException("$method, $way ${tensor.name}: $came came, expected $wanted")
        }
        return value
    }

    override fun unload(method: String): Unit = synchronized(this) { program.unload(method) }

    override fun close(): Unit = synchronized(this) { program.close() }
}

/** The float32 values of a tensor that is known to hold them. */
internal fun Tensors.floats(name: String): FloatArray = (getValue(name) as TensorValue.Floats).values

/** A float32 tensor. */
internal fun floatsOf(values: FloatArray, vararg shape: Int): TensorValue.Floats =
    TensorValue.Floats(LongArray(shape.size) { shape[it].toLong() }, values)
