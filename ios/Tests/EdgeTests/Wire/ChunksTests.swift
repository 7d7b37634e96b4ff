import XCTest

@testable import EdgeWire

final class ChunksTests: XCTestCase {
    private func body(_ size: Int, _ fill: Int = 7) -> Bytes { (0..<size).map { UInt8(truncatingIfNeeded: $0 * fill) } }

    private func chunks(_ body: Bytes, _ payload: Int = 100) throws -> [Chunk] {
        let cut = try Cut(body, .delta, payload: payload)
        return try (0..<cut.count).map { try Chunk.decode(cut.chunk($0)) }
    }

    /// 250 bytes in pieces of 100 are three chunks; any order and a repetition give the body back once.
    func testPiecesMayComeInAnyOrderAndTwice() throws {
        let whole = body(250)
        let pieces = try chunks(whole)
        XCTAssertEqual(pieces.map(\.payload.count), [100, 100, 50])
        let assembler = Assembler()
        for place in [2, 0, 2] { XCTAssertNil(try assembler.add("a", pieces[place])) }
        XCTAssertEqual(assembler.missing("a", pieces[0].digest).map(hex), "02")
        XCTAssertEqual(try assembler.add("a", pieces[1]), whole)
        XCTAssertEqual(assembler.heldBytes, 0)
    }

    /// Two senders with the same body do not complete each other's.
    func testSendersAreKeptApart() throws {
        let pieces = try chunks(body(200))
        let assembler = Assembler()
        XCTAssertNil(try assembler.add("a", pieces[0]))
        XCTAssertNil(try assembler.add("b", pieces[1]))
        assembler.forget("b")
        XCTAssertNotNil(try assembler.add("a", pieces[1]))
    }

    /// A sender over its share loses its own oldest body; another sender's stays.
    func testRoomIsMadeAtTheExpenseOfWhoTakesIt() throws {
        let assembler = Assembler(limit: 10_000, senderLimit: 4_000)
        let mine = try chunks(body(200, 3))
        XCTAssertNil(try assembler.add("patient", mine[0]))
        let greedy = try (1...9).map { try chunks(body(2_000, 2 * $0 + 1), 1_000) }
        for one in greedy { XCTAssertNil(try assembler.add("greedy", one[0])) }
        // Each unfinished body costs 1,024 + 1,000 + 128 bytes: one fits 4,000, two do not. Beside: 1,024 + 100 + 128.
        XCTAssertEqual(assembler.heldBytes, 2_152 + 1_252)
        XCTAssertNotNil(try assembler.add("patient", mine[1]))
        XCTAssertNil(try assembler.add("greedy", greedy[0][1]))
        XCTAssertNotNil(try assembler.add("greedy", greedy[0][0]))
    }

    /// The newest body is kept while its sender holds one only, whatever the limit; of two senders the larger loses.
    func testTheOnlyBodyOfASenderIsNotDropped() throws {
        let assembler = Assembler(limit: 10)
        let pieces = try chunks(body(200))
        XCTAssertNil(try assembler.add("b", try chunks(body(900, 5), 500)[0]))
        XCTAssertNil(try assembler.add("a", pieces[0]))
        XCTAssertEqual(assembler.heldBytes, 1_252)
        XCTAssertNotNil(try assembler.add("a", pieces[1]))
    }

    /// What a reader must refuse is not written.
    func testEmptyAndTooLargeBodiesAreNotSent() throws {
        func code(_ act: () throws -> Void) -> Code? {
            do { try act() } catch { return (error as? WireError)?.code }
            return nil
        }
        XCTAssertEqual(code { _ = try Cut([], .blob) }, .malformed)
        XCTAssertEqual(code { _ = try Cut(body(65_537), .blob, payload: 1) }, .tooLarge)
        XCTAssertEqual(code { _ = try Assembler(bodyLimit: 199).add("a", chunks(body(200))[0]) }, .tooLarge)
    }
}
