import EdgeCore
import EdgeWire
import XCTest

final class TiersTests: XCTestCase {
    private func tier(
        _ trained: Int, _ frozen: Int, memoryMib: Double, stepMs: Double, rows: Int = 4, layers: Int = 2
    ) -> Tier {
        var tier = Tier(
            method: "train_l\(layers)_m\(trained)_f\(frozen)_r\(rows)", trainedSlots: trained, frozenSlots: frozen, seqLen: 8,
            rows: rows, batchSize: 4, layers: layers)
        (tier.predicted.memoryMib, tier.predicted.stepMs) = (memoryMib, stepMs)
        return tier
    }

    private lazy var large = tier(4, 4, memoryMib: 400, stepMs: 100)
    private lazy var middle = tier(2, 4, memoryMib: 300, stepMs: 70)
    private lazy var small = tier(1, 1, memoryMib: 200, stepMs: 50)
    private lazy var all = [large, middle, small]

    private func names(_ tiers: [Tier]) -> [String] { tiers.map(\.method) }

    private func fitted(_ tiers: [Tier], _ largest: Tier, _ slots: Int, _ layers: Int) throws -> [String] {
        names(try fitting(tiers, largest: largest, need: Need(slots: slots, layers: layers)))
    }

    /// Most experts held first; no more than was offered; a plan that needs more than that is refused.
    func testTiersThatFitComeBestFirst() throws {
        XCTAssertEqual(try fitted([small, large, middle], large, 1, 2), names(all))
        XCTAssertEqual(try fitted(all, large, 2, 1), names([large, middle]))
        XCTAssertEqual(try fitted(all, middle, 1, 1), names([middle, small]))
        XCTAssertThrowsError(try fitted(all, middle, 3, 1))
    }

    /// No more layers than the plan needs, where there is such a tier; a deeper one does, too; one that is not so deep does not.
    func testThePlansDepthComesFirst() throws {
        let top = tier(4, 4, memoryMib: 200, stepMs: 30, layers: 1)
        let deep = tier(4, 4, memoryMib: 200, stepMs: 30, layers: 4)
        let tiers = [deep, large, small, top]
        XCTAssertEqual(try fitted(tiers, deep, 1, 1), names([top, large, small, deep]))
        XCTAssertEqual(try fitted(tiers, deep, 1, 2), names([large, small, deep]))
        XCTAssertEqual(try fitted(tiers, deep, 4, 3), names([deep]))
        XCTAssertThrowsError(try fitted([top, large], large, 1, 3)) {
            XCTAssertTrue("\($0)".contains("1 experts at a layer and the top 3 layers, this device has 4 slots and 2 layers"))
        }
    }

    /// 64 MiB are left to others; a step up needs them twice; where nothing fits the smallest is taken.
    func testMemoryDecides() {
        func at(_ room: Double, _ now: Tier? = nil) -> String { choose(all, Signal(roomMib: room), current: now).method }
        XCTAssertEqual([464, 463, 364, 100].map { at($0) }, names([large, middle, middle, small]))
        XCTAssertEqual([527, 528].map { at($0, middle) }, names([middle, large]))
        XCTAssertEqual(at(370, large), middle.method)
        XCTAssertEqual(choose(all, Signal()).method, large.method)
    }

    /// What was measured goes before what was predicted.
    func testAMeasuredCostGoesFirst() {
        var heavy = large
        heavy.measured.memoryMib = 500
        XCTAssertEqual(choose([heavy, middle], Signal(roomMib: 464)).method, middle.method)
    }

    /// From 80 degrees a cheaper step, below 70 a dearer one again, between them none dearer.
    func testHeatDecides() {
        func at(_ celsius: Double, _ now: Tier? = nil) -> String { choose(all, Signal(celsius: celsius), current: now).method }
        XCTAssertEqual([79, 80].map { at($0) }, names([large, small]))
        XCTAssertEqual([at(85, large), at(85, middle)], names([middle, small]))
        XCTAssertEqual([71, 70].map { at($0, middle) }, names([middle, large]))
        XCTAssertEqual(at(95, small), small.method)
    }

    /// Of tiers that differ in rows only, none with more than the texts need; others stay, and are asked for no texts.
    func testTextsDecideHowManyRows() {
        let rows = [4, 2, 1].map { tier(4, 4, memoryMib: 400, stepMs: 100, rows: $0) }
        let tiers = rows + [middle]
        func suited(_ tiers: [Tier], _ length: Int) -> [String] {
            names(suiting(tiers) { [Int](repeating: length, count: 40) })
        }
        // Four texts of 4 tokens fill two rows of 8; of 2 tokens one row; of 7 tokens four rows; of 7 in two rows none.
        XCTAssertEqual(suited(tiers, 4), names(Array(tiers[1...])))
        XCTAssertEqual(suited(tiers, 2), names(Array(tiers[2...])))
        XCTAssertEqual(suited(tiers, 7), names(tiers))
        XCTAssertEqual(suited(Array(rows[1...]), 7), names(Array(rows[1...])))
        XCTAssertEqual(names(suiting(all) { fatalError("asked") }), names(all))
    }
}
