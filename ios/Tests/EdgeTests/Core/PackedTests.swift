import EdgeCore
import EdgeWire
import XCTest

/// What a call takes of where its texts stand; two rows of four places, room for four texts.
final class PackedTests: XCTestCase {
    private let room = Capacity(rows: 2, sequence: 4, batch: 4)

    // Texts of 1, 3, 0 and 2 tokens: the longest in row 0, the shortest behind it, the other one in row 1.
    private lazy var packed = Packed(next: [1, 3, 0, 2], room)

    /// The longest stands first; the next fits into the second row only; the last behind the first.
    func testTextsStandWhereTheContractSays() {
        XCTAssertEqual(packed.stands.map { [$0.row, $0.first, $0.count] }, [[0, 3, 1], [0, 0, 3], [0, 4, 0], [1, 0, 2]])
        XCTAssertEqual([packed.size, packed.tokens], [4, 6])
    }

    /// Positions begin anew with each text, and a place looks at those of its own text only.
    func testAPlaceLooksAtItsOwnTextOnly() {
        let frame = packed.frame()
        XCTAssertEqual(frame["positions"], TensorValue([0, 1, 2, 0, 0, 1, 0, 0] as [Int64], [2, 4]))
        let rows = ["1110", "1110", "1110", "0001", "1100", "1100", "0000", "0000"]
        let attend = rows.joined().map { $0 == "1" ? Float(1) : 0 }
        XCTAssertEqual(frame["attend"], TensorValue(attend, [2, 4, 4]))
    }

    /// Ids and mask at the places of tokens, zeros elsewhere; a text longer than a row is cut.
    func testIdsStandAtTheirPlaces() {
        let ids = packed.spread([[9], [5, 6, 7], [], [3, 4]])
        XCTAssertEqual(ids, TensorValue([5, 6, 7, 9, 3, 4, 0, 0] as [Int64], [2, 4]))
        XCTAssertEqual(packed.mask(), TensorValue([1, 1, 1, 1, 1, 1, 0, 0] as [Float], [2, 4]))
        let long = Packed(next: [6, 1], room).spread([[1, 2, 3, 4, 5, 6], [8]])
        XCTAssertEqual(long, TensorValue([1, 2, 3, 4, 8, 0, 0, 0] as [Int64], [2, 4]))
    }

    /// A text is the mean of its tokens, in the row of its turn; one without tokens, and one that is not there, is nothing.
    func testATextIsReadAsTheMeanOfItsTokens() {
        let third = Float(1) / 3
        let expected: [[Float]] = [
            [0, 0, 0, 1, 0, 0, 0, 0], [third, third, third, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0.5, 0.5, 0, 0],
        ]
        XCTAssertEqual(packed.means(), TensorValue(expected.flatMap { $0 }, [4, 8]))
        XCTAssertEqual(Packed(next: [4], room).means().floats!.dropFirst(8).filter { $0 != 0 }, [])
    }

    /// No room is too small for one text; a trunk has each text alone, at the beginning of a row.
    func testATrunkHasATextInARow() {
        let least = Packed(next: [7, 7], Capacity(rows: 1, sequence: 1, batch: 2))
        XCTAssertEqual([least.size, least.tokens], [1, 1])
        let alone = Packed(inOwnRows: [1, 2], room).spread([[7], [8, 9]])
        XCTAssertEqual(alone, TensorValue([7, 0, 0, 0, 8, 9, 0, 0] as [Int64], [2, 4]))
    }
}
