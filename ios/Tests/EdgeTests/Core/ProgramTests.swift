import EdgeCore
import EdgeWire
import XCTest

/// A program that gives back what it takes, for what stands around programs.
private struct Echo: Program {
    let methods: Set<String>

    func execute(_: String, _ inputs: [TensorValue]) throws -> [TensorValue] { [inputs[0]] }

    func unload(_: String) {}
}

final class ProgramTests: XCTestCase {
    /// The manifest of the shared vectors' smallest package.
    private func manifest() throws -> Manifest {
        try Manifest(reading: Case.all.get().first { $0.name == "Manifest/accept_small" }!.data)
    }

    /// A file without a method of its manifest is refused; tensors that lack, are unknown or do not fit are named.
    func testTensorsAreHeldAgainstTheManifest() throws {
        let manifest = try manifest()
        XCTAssertThrowsError(try NamedProgram(Echo(methods: []), manifest)) {
            XCTAssertTrue("\($0)".contains("lacks the methods"))
        }
        let program = try NamedProgram(Echo(methods: Set(manifest.methods.names)), manifest)
        let (method, spec) = manifest.methods.entries.first { $0.name.hasPrefix("predict") }!
        var inputs: [String: TensorValue] = [:]
        for tensor in spec.inputs {
            let count = tensor.shape.reduce(1, *)
            inputs[tensor.name] = tensor.dtype == "float32"
                ? TensorValue([Float](repeating: 0, count: count), tensor.shape)
                : TensorValue([Int64](repeating: 0, count: count), tensor.shape)
        }
        func refusal(_ inputs: [String: TensorValue]) -> String {
            do { _ = try program.execute(method, inputs) } catch { return "\(error)" }
            return ""
        }
        XCTAssertTrue(refusal(inputs).hasSuffix("gave 1 tensors, expected \(spec.outputs.count)"))
        XCTAssertTrue(refusal(inputs.merging(["mood": inputs["ids"]!]) { $1 }).contains(#"has no inputs ["mood"]"#))
        XCTAssertTrue(refusal(inputs.filter { $0.key != "ids" }).contains("input ids is missing"))
        let other = TensorValue([Float(0)], [1])
        XCTAssertTrue(refusal(inputs.merging(["ids": other]) { $1 }).contains("input ids: float32[1] came, expected int64"))
    }
}
