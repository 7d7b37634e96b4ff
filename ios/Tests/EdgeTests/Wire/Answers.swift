/// What the Python implementation says, asked when the tests are run: `make swift-test` writes it into a folder.
import EdgeWire
import Foundation
import XCTest

enum Answers {
    /// Returns what one of Python's scripts printed; the test is skipped where nobody asked.
    static func read(_ name: String) throws -> Json {
        guard let folder = ProcessInfo.processInfo.environment["EDGE_EXPERTS_ANSWERS"] else {
            throw XCTSkip("Python's answers are not here: run `make swift-test`")
        }
        let file = URL(fileURLWithPath: folder).appendingPathComponent("\(name).json")
        return try Json.parse(Bytes(Data(contentsOf: file)), file.path, limit: 256 * 1024 * 1024)
    }
}
