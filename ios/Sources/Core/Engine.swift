/// What executes a package's program.pte: the one thing that a device needs from outside.
///
/// On a phone this is ExecuTorch's Swift library (the package in engine/). A program's file does not name its tensors; the
/// package's manifest does, and ``NamedProgram`` gives and takes them in its order.
import EdgeWire

/// One tensor of a call, dense and row-major. Packages have float32 and int64 tensors and no other (SPEC.md, "Manifest").
public struct TensorValue: Equatable, Sendable {
    /// Its values, which say its type.
    public enum Values: Equatable, Sendable {
        case floats([Float])
        case longs([Int64])
    }

    /// Its axes; none for a single number.
    public let shape: [Int]
    public let values: Values

    /// A float32 tensor; there are as many values as the shape has places.
    public init(_ values: [Float], _ shape: [Int]) {
        precondition(values.count == shape.reduce(1, *), "\(values.count) values for the shape \(shape)")
        (self.values, self.shape) = (.floats(values), shape)
    }

    /// An int64 tensor; there are as many values as the shape has places.
    public init(_ values: [Int64], _ shape: [Int]) {
        precondition(values.count == shape.reduce(1, *), "\(values.count) values for the shape \(shape)")
        (self.values, self.shape) = (.longs(values), shape)
    }

    /// As the manifest names it.
    public var dtype: String {
        if case .floats = values { return "float32" }
        return "int64"
    }

    /// Its float32 values; nil where it has others.
    public var floats: [Float]? {
        guard case .floats(let floats) = values else { return nil }
        return floats
    }
}

/// Opens programs; one implementation for each runtime.
public protocol Engine {
    associatedtype Opened: Program

    /// What this is, as the gateway is told: one plain line of at most 200 bytes, such as "ios executorch 1.3.0".
    var name: String { get }

    /// Opens a program; its methods are loaded when they are first executed.
    ///
    /// - Parameter program: path of a .pte file whose digest was checked; it does not change while it is open.
    /// - Throws: ``EngineError`` when the file is none, or needs what this engine has not.
    func open(_ program: String) throws -> Opened
}

/// An opened program; it is called from one thread at a time, though not always from the same.
public protocol Program {
    /// Names of its methods.
    var methods: Set<String> { get }

    /// Runs a method.
    ///
    /// - Parameter inputs: every input, in the order of the manifest.
    /// - Returns: every output, in the order of the manifest.
    /// - Throws: ``EngineError`` when an input is not what the method takes, or the method failed.
    func execute(_ method: String, _ inputs: [TensorValue]) throws -> [TensorValue]

    /// Frees a method's packed weights, where the engine can; it is loaded again when it is next executed.
    func unload(_ method: String)
}

/// A program whose tensors have names: the file has none, the manifest does.
public struct NamedProgram<Opened: Program> {
    private let program: Opened
    private let manifest: Manifest

    /// - Throws: ``EngineError`` when the file lacks a method of the manifest.
    public init(_ program: Opened, _ manifest: Manifest) throws {
        let methods = program.methods
        let missing = manifest.methods.names.filter { !methods.contains($0) }
        guard missing.isEmpty else {
            throw EngineError("the program lacks the methods \(missing) of its manifest; copy the package again")
        }
        (self.program, self.manifest) = (program, manifest)
    }

    /// Runs a method, tensors by name. Throws: ``EngineError`` naming the tensor that lacks or does not fit, or why it failed.
    public func execute(_ method: String, _ inputs: [String: TensorValue]) throws -> [String: TensorValue] {
        guard let spec = manifest.methods[method] else { throw EngineError("the package has no method \(method)") }
        let unknown = Set(inputs.keys).subtracting(spec.inputs.map(\.name))
        guard unknown.isEmpty else { throw EngineError("\(method) has no inputs \(unknown.sorted())") }
        let ordered = try spec.inputs.map { tensor -> TensorValue in
            guard let value = inputs[tensor.name] else { throw EngineError("\(method): input \(tensor.name) is missing") }
            return try checked("\(method), input \(tensor.name)", tensor, value)
        }
        let outputs = try program.execute(method, ordered)
        guard outputs.count == spec.outputs.count else {
            throw EngineError("\(method) gave \(outputs.count) tensors, expected \(spec.outputs.count)")
        }
        return try zip(spec.outputs, outputs).reduce(into: [:]) { named, one in
            named[one.0.name] = try checked("\(method), output \(one.0.name)", one.0, one.1)
        }
    }

    /// Frees a method's packed weights, where the engine can.
    public func unload(_ method: String) { program.unload(method) }

    private func checked(_ place: String, _ tensor: TensorSpec, _ value: TensorValue) throws -> TensorValue {
        guard sameText(value.dtype, tensor.dtype), value.shape == tensor.shape else {
            throw EngineError("\(place): \(value.dtype)\(value.shape) came, expected \(tensor.dtype)\(tensor.shape)")
        }
        return value
    }
}
