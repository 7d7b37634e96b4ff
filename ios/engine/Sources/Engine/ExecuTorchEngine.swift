#if canImport(ExecuTorch)
import EdgeCore
import ExecuTorch

/// ExecuTorch's Swift library as the engine of a device.
///
/// **Unproven.** No Apple system has compiled or run this. It was written from the declarations of ExecuTorch 1.3 to 1.5, and its
/// types are checked against those that it uses (ios/engine/check). An app links backend_xnnpack and the kernels itself.
public struct ExecuTorchEngine: Engine {
    public let name = "ios executorch"

    public init() {}

    /// The weights stay in the file: pages that the system may drop and read again.
    public func open(_ program: String) throws -> ExecuTorchProgram {
        let module = Module(filePath: program, loadMode: .mmap)
        return try guarded("cannot open a program") {
            try module.load()
            return ExecuTorchProgram(module, methods: try module.methodNames())
        }
    }
}

/// A program that ExecuTorch opened; unproven as ``ExecuTorchEngine`` is.
public final class ExecuTorchProgram: Program {
    private let module: Module
    public let methods: Set<String>

    fileprivate init(_ module: Module, methods: Set<String>) { (self.module, self.methods) = (module, methods) }

    public func execute(_ method: String, _ inputs: [TensorValue]) throws -> [TensorValue] {
        try guarded("\(method) failed") {
            let outputs: [Value] = try module.execute(method, inputs.map(tensor))
            return try outputs.map(value)
        }
    }

    public func unload(_ method: String) { _ = module.unload(method) }
}

/// Both are copies. A tensor of packages has at least one axis and one value: an array without any has no address to copy from.
private func tensor(_ value: TensorValue) -> ValueConvertible {
    switch value.values {
    case .floats(let floats): return Tensor<Float>(floats, shape: value.shape)
    case .longs(let longs): return Tensor<Int64>(longs, shape: value.shape)
    }
}

private func value(_ value: Value) throws -> TensorValue {
    if let floats: Tensor<Float> = value.anyTensor?.asTensor() { return TensorValue(floats.scalars(), floats.shape) }
    if let longs: Tensor<Int64> = value.anyTensor?.asTensor() { return TensorValue(longs.scalars(), longs.shape) }
    throw EngineError("an output is no tensor of float32 or int64, which packages have; export it again")
}

/// Tells the library's errors as ours.
private func guarded<Result>(_ what: String, _ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as EngineError {
        throw error
    } catch {
        throw EngineError("ExecuTorch: \(what) (\(error))")
    }
}
#endif
