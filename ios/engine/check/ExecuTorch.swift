/// The declarations of ExecuTorch's Swift interface that the engine uses, without bodies: so that a Swift compiler elsewhere than
/// on Apple's systems can hold the engine's types against them. Never linked, never executed, and no proof that it works.
private func absent() -> Never { fatalError("this is no ExecuTorch") }

public protocol Scalar {}
extension Float: Scalar {}
extension Int64: Scalar {}

public protocol ValueConvertible {}

open class AnyTensor {
    public func asTensor<T: Scalar>() -> Tensor<T>? { absent() }
}

public final class Tensor<T: Scalar>: ValueConvertible {
    public var shape: [Int] { absent() }
    public init(_ scalars: [T], shape: [Int] = []) { absent() }
    public func scalars() -> [T] { absent() }
}

open class Value {
    public var anyTensor: AnyTensor? { absent() }
}

public enum ModuleLoadMode {
    case file, mmap
}

open class Module {
    public init(filePath: String, loadMode: ModuleLoadMode) { absent() }
    public func load() throws { absent() }
    public func methodNames() throws -> Set<String> { absent() }
    public func execute(_ method: String, _ inputs: [ValueConvertible]) throws -> [Value] { absent() }
    public func unload(_ method: String) -> Bool { absent() }
}
