import EdgeCore
import XCTest

@testable import EdgeWire

/// Deltas of random training that Python built (deltas.py of the Kotlin tests): two gates, two codecs, three rounds each.
final class DeltaTests: XCTestCase {
    private struct Device {
        let manifest: Manifest
        let bank: Bank
        let codec: Codec
        let rounds: [Named<Json>]

        init(_ tree: Json) throws {
            let named = tree.named!
            manifest = try Manifest(reading: bytes(named["manifest"]))
            let architecture = manifest.architecture
            bank = try Bank(reading: bytes(named["bank"]), architecture.bankShape(), federation: architecture.digest)
            codec = Codec(rawValue: Int32(try whole(named["codec"])))
            rounds = try items(named["rounds"]).map { $0.named! }
        }

        func slots(_ round: Named<Json>) throws -> Slots {
            let train = try items(round["train"]).map { try items($0).map(whole) }.map { ExpertId($0[0], $0[1]) }
            return try Slots(placing: train, manifest.architecture, manifest.tiers[0])
        }

        func origin(_ number: Int) -> Origin {
            Origin(
                device: "device-1", planDigest: Bytes(repeating: UInt8(number), count: 32), round: UInt64(number) + 1,
                baseVersion: 1 << 40 + UInt64(number), codec: codec)
        }
    }

    private static func bytes(_ tree: Json?) throws -> Bytes { unhex(try string(tree))! }

    private func values(_ tree: Json?) throws -> [Float] {
        let data = try Self.bytes(tree)
        return floats(data, data.count / 4)
    }

    private func byBlock(_ tree: Json?) throws -> [ExpertId: [Float]] {
        try items(tree).map(items).reduce(into: [:]) { blocks, row in
            blocks[ExpertId(try whole(row[0]), try whole(row[1]))] = try values(row[2])
        }
    }

    private func outcome(_ tree: Json?) throws -> Outcome {
        let named = tree!.named!
        return Outcome(
            blocks: try byBlock(named["blocks"]), examples: UInt32(try whole(named["examples"])),
            labelCounts: try values(named["label_counts"]), losses: try items(named["losses"]).map { $0.number! },
            stepMs: named["step_ms"]!.number!, routed: try items(named["routed"]).map(values),
            seen: try items(named["seen"]).map(values))
    }

    private static let all = Result { try items(Answers.read("deltas")).map(Device.init) }

    private func devices() throws -> [Device] { try Self.all.get() }

    /// Error feedback from round to round, and the bytes are Python's.
    func testDeltasHavePythonsBytes() throws {
        let devices = try devices()
        XCTAssertEqual(devices.count, 24)
        for device in devices {
            var residuals: [ExpertId: [Float]] = [:]
            for (number, round) in device.rounds.enumerated() {
                let built = try buildDelta(
                    device.origin(number), base: device.bank, slots: device.slots(round), outcome: outcome(round["outcome"]),
                    residuals: residuals, topk: device.manifest.architecture.gate == "topk")
                XCTAssertEqual(hex(built.body), try string(round["body"]))
                XCTAssertEqual(built.residuals, try byBlock(round["residuals"]))
                residuals.merge(built.residuals) { $1 }
                _ = try Delta.decode(built.body)
            }
        }
    }

    /// The same experts sit in the same slots, with the same masks and scales.
    func testExpertsSitWherePythonPutsThem() throws {
        for device in try devices() {
            for round in device.rounds {
                let slots = try device.slots(round)
                XCTAssertTrue(same(round["held"]!, slots.held.told))
                XCTAssertTrue(same(round["update_mask"]!, slots.updateMask.told))
                XCTAssertEqual(round["gate_scale"]!.number!, Double(slots.gateScale))
            }
        }
    }

    /// What a program cannot train is refused before it runs; a diverged training gives no delta.
    func testWhatDoesNotFitIsRefused() throws {
        let device = try devices()[0]
        let (architecture, tier) = (device.manifest.architecture, device.manifest.tiers[0])
        func refusal(_ train: [ExpertId], _ tier: Tier) -> String {
            do { _ = try Slots(placing: train, architecture, tier) } catch { return "\(error)" }
            return ""
        }
        let three = (0..<3).map { ExpertId(1, $0) }
        XCTAssertTrue(refusal(three, tier).contains("trains 3 experts at a layer, the program train has 2"))
        XCTAssertTrue(refusal([ExpertId(2, 0)], tier).contains("trains 2.0, which this package cannot train"))
        XCTAssertTrue(refusal([.mean], tier).contains("trains mean"))
        var shallow = tier
        shallow.layers = 1
        XCTAssertTrue(refusal([ExpertId(1, 0)], shallow).contains("trains the top 2 layers, the program train has 1"))
        var broken = try device.bank.block(ExpertId(1, 0))
        broken[0] = .nan
        for values in [broken, Array(broken.dropFirst())] {
            let outcome = Outcome(
                blocks: [ExpertId(1, 0): values], examples: 1, labelCounts: [0, 0, 0], losses: [1], stepMs: 1)
            XCTAssertThrowsError(try buildDelta(
                device.origin(0), base: device.bank, slots: Slots(placing: [ExpertId(1, 0)], architecture, tier),
                outcome: outcome, residuals: [:], topk: false))
        }
    }

    /// Residuals survive their record; what does not fit the bank, and what is zero, is left out.
    func testResidualsSurviveTheirRecord() throws {
        let shape = try BankShape(layers: [1, 4], experts: 2, rank: 1, sharedRank: 0, width: 3, labels: 2)
        let values = (0..<shape.expertSize).map { Float($0) / 7 }
        let zeros = [Float](repeating: 0, count: shape.expertSize)
        let packed = packResiduals([ExpertId(1, 0): values, ExpertId(1, 1): zeros, .head: [1, 1]])
        let file = try Safetensors(reading: Safetensors(packed).encoded(), "residuals")
        XCTAssertEqual(unpackResiduals(file.tensors, shape), [ExpertId(1, 0): values])
    }
}
