import XCTest

@testable import EdgeWire

final class TextsTests: XCTestCase {
    /// Answers of FIPS 180-4's examples, and of inputs around the border of a block; Apple's and ours are the same.
    func testDigestsAreTheStandards() {
        let known = [
            "": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq":
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ]
        for (text, digest) in known { XCTAssertEqual(hex(sha256(text.utf8)), digest) }
        for size in [55, 56, 63, 64, 65, 119, 1000] {
            let data = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
            var (own, pieces) = (PortableSha256(), Digest())
            own.update(data)
            for start in stride(from: 0, to: size, by: 7) { pieces.update(Bytes(data[start..<min(size, start + 7)])) }
            XCTAssertEqual(own.digest(), sha256(data))
            XCTAssertEqual(pieces.value(), sha256(data))
        }
    }

    /// The decimals that Python's repr writes.
    func testDecimalsAreTheShortest() {
        let known = [
            20.0: "20.0", 0.001: "0.001", 0.1: "0.1", 9_999_999.0: "9999999.0", 14.285714285714286: "14.285714285714286",
            1.0 / 3: "0.3333333333333333", 0.002: "0.002", 1_234_567.875: "1234567.875",
        ]
        for (number, text) in known { XCTAssertEqual(shortestDecimal(number), text) }
    }

    /// An error's text is one short ASCII line, whatever came.
    func testWhatIsShownIsOneLine() {
        XCTAssertEqual(shown("a\r\nb\u{202E}"), #""a\u{d}\u{a}b\u{202e}""#)
        XCTAssertEqual(shown(String(repeating: "x", count: 500)).utf8.count, 83)
    }

    /// What looks alike to Swift is not the same to the contract.
    func testTextsThatLookAlikeAreKeptApart() {
        var named = Named<Int>()
        (named["\u{E9}"], named["e\u{301}"], named["K"], named["\u{212A}"]) = (1, 2, 3, 4)
        XCTAssertEqual(named.entries.map(\.value), [1, 2, 3, 4])
        XCTAssertEqual(named["e\u{301}"], 2)
        XCTAssertNotNil(try? Json.parse(Bytes("{\"\u{E9}\": 1, \"e\u{301}\": 2}".utf8), "x"))
        XCTAssertNil(try? Json.parse(Bytes("{\"\u{E9}\": 1, \"\\u00e9\": 2}".utf8), "x"))
    }

    /// Sixteen lists around a number are read, seventeen are not.
    func testNestingHasALimit() {
        func nested(_ depth: Int) -> Bytes {
            Bytes((String(repeating: "[", count: depth) + "1" + String(repeating: "]", count: depth)).utf8)
        }
        XCTAssertNotNil(try? Json.parse(nested(Json.deepest), "x"))
        XCTAssertNil(try? Json.parse(nested(Json.deepest + 1), "x"))
        XCTAssertNil(try? Json.parse(nested(100_000), "x"))
    }

    /// Unknown groups are passed over as deep as protobuf's own readers do, and no deeper: a hostile one costs no stack.
    func testGroupsHaveALimit() {
        func groups(_ depth: Int) -> Bytes {
            var bye = Bye()
            (bye.wireVersion, bye.device) = (1, "a")
            return bye.encoded() + Bytes(repeating: 0x7B, count: depth) + Bytes(repeating: 0x7C, count: depth)
        }
        XCTAssertNotNil(try? Bye.decode(groups(100)))
        XCTAssertNil(try? Bye.decode(groups(101)))
        XCTAssertNil(try? Bye.decode(groups(60_000)))
    }

    /// A writer's list is ascending and names nothing twice; a code of tomorrow is shown by its number.
    func testIdsAreListedAscendingAndOnce() {
        let listed = refs([.head, ExpertId(1, 2), .shared(1), ExpertId(1, 2)])
        XCTAssertEqual(listed.map { [$0.layer, $0.index] }, [[1, 2], [1, 65_535], [65_535, 0]])
        XCTAssertEqual(Code(rawValue: 1234).name, "CODE_1234")
    }

    /// What a device hears: two topics for all, two of its own.
    func testADeviceListensToFourTopics() throws {
        XCTAssertEqual(
            try deviceSubscriptions("home", "p8"),
            ["fl/v1/home/gateway", "fl/v1/home/version", "fl/v1/home/plan/p8", "fl/v1/home/verdict/p8"])
        XCTAssertThrowsError(try deviceSubscriptions("home", "p8/#"))
    }

    /// A bank's file has the bytes that its reader takes, and keeps every value.
    func testABankSurvivesItsFile() throws {
        let shape = try BankShape(layers: [1, 3], experts: 2, rank: 1, sharedRank: 1, width: 2, labels: 2)
        let values = Dictionary(uniqueKeysWithValues: try shape.ids.enumerated().map { place, id in
            (id, (0..<(try shape.size(id))).map { Float(place) + Float($0) / 64 })
        })
        let (bank, federation) = (try Bank(shape, blocks: values), sha256("f".utf8))
        let again = try Bank(reading: bank.encoded(federation: federation), shape, federation: federation)
        XCTAssertEqual(again.digest(), bank.digest())
        XCTAssertEqual(try again.block(.head), values[.head])
        XCTAssertFalse(Bank(zeros: shape).learned)
        XCTAssertThrowsError(try bank.replacing([.head: [1]]))
        XCTAssertThrowsError(try Bank(shape, blocks: [.head: values[.head]!]))
    }
}
