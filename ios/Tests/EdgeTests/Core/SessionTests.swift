import EdgeCore
import EdgeWire
import XCTest

final class SessionTests: XCTestCase {
    /// What Python does in a state at an event; null where the event has no place.
    private func outcome(_ session: Session, _ event: Event) -> Json {
        guard let (after, actions) = try? session.after(event) else { return .null }
        let words = Json.items(actions.map { .text($0.rawValue) })
        return .items([.text(after.link.rawValue), .text(after.work.rawValue), words])
    }

    /// 6 states of the link, 4 of the work, 17 events: every one of the 408 has the same outcome as in Python.
    func testEveryEventHasPythonsOutcome() throws {
        let theirs = try items(Answers.read("session_table")).map(items)
        XCTAssertEqual(theirs.count, 6 * 4 * 17)
        var asked: Set<[String]> = []
        for row in theirs {
            let words = try row[..<3].map { try string($0) }
            let session = Session(link: LinkState(rawValue: words[0])!, work: WorkState(rawValue: words[1])!)
            let own = outcome(session, Event(rawValue: words[2])!)
            XCTAssertTrue(same(own, row[3]), "\(words): Python \(row[3]), here \(own)")
            asked.insert(words)
        }
        XCTAssertEqual(asked.count, LinkState.allCases.count * WorkState.allCases.count * Event.allCases.count)
    }

    /// A round without trouble: greet, fetch, take a plan, train, send.
    func testARoundGoesThrough() throws {
        var session = Session()
        var actions: [Action] = []
        for event: Event in [.linkUp, .gateway, .welcome, .plan, .ready, .trained, .settled] {
            let (after, more) = try session.after(event)
            (session, actions) = (after, actions + more)
        }
        XCTAssertEqual(actions, [.hello, .fetch, .train, .offer])
        XCTAssertEqual(session, Session(link: .member, work: .idle))
    }

    /// The refusal names state and event.
    func testAnEventWithoutPlaceIsRefused() {
        XCTAssertThrowsError(try Session().after(.ready)) {
            XCTAssertEqual("\($0)", "event 'ready' has no place while offline and idle")
        }
    }
}
