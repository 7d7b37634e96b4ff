import XCTest

@testable import EdgeWire

/// The kinds that need somebody's Ed25519.
private let signed: Set = ["SignedMessage", "SignedManifest"]

/// Sums under masks, in which Swift takes no part: it decides on plans and deltas that name them, and has none of the sums. Sums of sites: only gateways read them.
private let leftOut: Set = [
    "Agreement", "Integers", "Mask", "MemberOrder", "Neighbours", "Packed", "PartialStatistics", "PartialSum",
    "SecureMember", "Shares", "SignedKeys",
]

final class VectorsTests: XCTestCase {
    private func wrong(_ cases: [Case]) throws -> [String] {
        try cases.compactMap { one in
            let decision = try decide(one)
            let alike = decision.verdict == one.expect && same(decision.meaning ?? .null, one.meaning ?? .null)
            return alike ? nil : "\(one.name): expected \(one.expect), decided \(decision)".prefix(400).description
        }
    }

    /// The same bytes, the same verdict, the same meaning, in every language.
    func testEveryVectorIsDecidedAlike() throws {
        let cases = try Case.all.get().filter { !signed.union(leftOut).contains($0.kind) }
        XCTAssertEqual(try wrong(cases), [])
        XCTAssertGreaterThan(cases.count, 800)
    }

    func testEverySignatureIsDecidedAlike() throws {
        try XCTSkipIf(signatureVerifier == nil, "neither CryptoKit nor libcrypto 3 is here: signatures were not checked")
        let cases = try Case.all.get().filter { signed.contains($0.kind) }
        XCTAssertEqual(try wrong(cases), [])
        XCTAssertEqual(Set(cases.map(\.kind)), signed)
    }

    /// Every kind that is known here has cases; a file of tomorrow, or a key of it, must not pass unread.
    func testEveryKindIsKnown() throws {
        XCTAssertEqual(Set(try Case.all.get().map(\.kind)), knownKinds.union(leftOut))
        func replayed(_ kind: String, _ more: String = "", _ bytes: String = "[]") throws {
            let text = #"[{"name": "a", "expect": "ACCEPT", "comment": "", "bytes": \#(bytes) \#(more)}]"#
            for one in try Case.read(kind, Bytes(text.utf8)) { _ = try decide(one) }
        }
        try replayed("Bye")
        try replayed("Bye", #", "context": {"limit": 1}"#, #"[{"hex": "00"}, {"text": "a"}]"#)
        XCTAssertThrowsError(try replayed("Rumour"))
        XCTAssertThrowsError(try replayed("Bye", #", "mood": 1"#))
        XCTAssertThrowsError(try replayed("Bye", #", "context": {"mood": 1}"#))
        XCTAssertThrowsError(try replayed("Bye", "", #"[{"base64": "AA=="}]"#))
        XCTAssertThrowsError(try replayed("Bye", "", #"[{"hex": "00", "text": "a"}]"#))
    }

    /// The comparison itself tells values apart, and texts that look alike.
    func testMeaningsAreComparedAsValues() {
        let one = Json.members([("a", .items([.whole(1), .fraction(2)]))])
        XCTAssertTrue(same(one, .members([("a", .items([.fraction(1), .whole(2)]))])))
        XCTAssertFalse(same(.members([("a", .whole(1))]), .members([("a", .whole(1)), ("b", .null)])))
        XCTAssertFalse(same(.items([.whole(1)]), .items([.fraction(1.5)])))
        XCTAssertFalse(same(.text("1"), .whole(1)))
        XCTAssertFalse(same(.text("\u{E9}"), .text("e\u{301}")))
    }

    /// What the fuzzers kept of Python's ways, and mutants of it, is decided alike; Python says what it decides (make swift-test).
    func testEveryInputOfTheFuzzersIsDecidedAlike() throws {
        let trees = try items(Answers.read("corpus"))
        let cases = try trees.map { tree -> Case in
            let named = tree.named!
            return Case(
                kind: try string(named["kind"]), name: "\(try string(named["kind"]))/\(try string(named["name"]))",
                data: unhex(try string(named["hex"]))!, expect: try string(named["expect"]),
                context: named["context"]!.named!, meaning: named["meaning"])
        }
        let (json, decided) = (cases.filter { $0.kind == "strict_json" }, cases.filter { $0.kind != "strict_json" })
        XCTAssertEqual(try wrong(decided), [])
        for one in json {
            let verdict = (try? Json.parse(one.data, one.name)) == nil ? "REFUSED" : "ACCEPT"
            XCTAssertEqual(verdict, one.expect, "\(one.name) \(String(decoding: one.data.prefix(200), as: UTF8.self))")
        }
        XCTAssertGreaterThan(json.count, 50)
        XCTAssertGreaterThan(decided.filter { $0.expect == "ACCEPT" }.count, 50)
    }
}
