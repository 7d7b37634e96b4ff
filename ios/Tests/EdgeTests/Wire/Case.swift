/// The shared vectors, read where they are; their format: edge_runtime/wire/vectors/README.md.
import EdgeWire
import Foundation

/// The repository.
let repository = (0..<5).reduce(URL(fileURLWithPath: #filePath)) { file, _ in file.deletingLastPathComponent() }

private let needed: Set = ["name", "expect", "comment", "bytes"]
private let known = needed.union(["context", "meaning"])
private let textLimit = 256 * 1024 * 1024

struct BrokenCase: Error {
    let what: String
}

/// One decision.
struct Case {
    let kind: String
    let name: String
    let data: Bytes
    let expect: String
    let context: Named<Json>
    let meaning: Json?

    /// Every case; read once, since parsing takes longer than deciding.
    static let all = Result { try readAll() }

    /// Returns every case; a key that is not known here fails.
    private static func readAll() throws -> [Case] {
        let folder = repository.appendingPathComponent("edge_runtime/wire/vectors/cases")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        return try files.filter { $0.pathExtension == "json" }.sorted { $0.path < $1.path }.flatMap { file in
            try read(file.deletingPathExtension().lastPathComponent, Bytes(Data(contentsOf: file)))
        }
    }

    /// Returns the cases of one file.
    static func read(_ kind: String, _ text: Bytes) throws -> [Case] {
        let trees = try items(expanded(Json.parse(text, kind, limit: textLimit))).map { tree -> Named<Json> in
            guard let named = tree.named, known.isSuperset(of: named.names), needed.isSubset(of: named.names) else {
                throw BrokenCase(what: "\(kind): a case has unknown keys, or lacks some: \(tree.named?.names ?? [])")
            }
            return named
        }
        let pieces = try trees.reduce(into: Named<[Json]>()) { $0[try string($1["name"])] = try items($1["bytes"]) }
        guard pieces.entries.count == trees.count else { throw BrokenCase(what: "\(kind): two cases have one name") }
        return try trees.map { tree in
            let name = try string(tree["name"])
            return Case(
                kind: kind, name: "\(kind)/\(name)", data: try bytes(name, pieces), expect: try string(tree["expect"]),
                context: tree["context"]?.named ?? Named(), meaning: tree["meaning"])
        }
    }
}

func string(_ tree: Json?) throws -> String {
    guard case .text(let text)? = tree else { throw BrokenCase(what: "no text: \(String(describing: tree))") }
    return text
}

func whole(_ tree: Json?) throws -> Int {
    guard case .whole(let number)? = tree else { throw BrokenCase(what: "no whole number: \(String(describing: tree))") }
    return number
}

func items(_ tree: Json?) throws -> [Json] {
    guard case .items(let items)? = tree else { throw BrokenCase(what: "no list: \(String(describing: tree))") }
    return items
}

/// Returns a tree with each `{"repeat": VALUE, "times": N}` as VALUE, a text or a list, N times.
private func expanded(_ tree: Json) throws -> Json {
    switch tree {
    case .items(let items): return .items(try items.map(expanded))
    case .members(let members):
        guard let named = tree.named, Set(named.names) == ["repeat", "times"] else {
            return .members(try members.map { ($0, try expanded($1)) })
        }
        let times = try whole(named["times"])
        switch try expanded(named["repeat"]!) {
        case .text(let text): return .text(String(repeating: text, count: times))
        case .items(let items): return .items(Array(repeating: items, count: times).flatMap { $0 })
        default: throw BrokenCase(what: "neither text nor list is repeated")
        }
    default: return tree
    }
}

/// Returns the bytes of a case, the pieces of each by its name.
private func bytes(_ name: String, _ cases: Named<[Json]>) throws -> Bytes {
    guard let pieces = cases[name] else { throw BrokenCase(what: "no case \(name)") }
    return try pieces.flatMap { try bytes(of: $0.named ?? Named(), cases) }
}

private func bytes(of piece: Named<Json>, _ cases: Named<[Json]>) throws -> Bytes {
    switch Set(piece.names) {
    case ["hex"]: return try digits(piece["hex"])
    case ["text"]: return Bytes(try string(piece["text"]).utf8)
    case ["case", "lines"]:
        let range = try items(piece["lines"]).map(whole)
        return lines(try bytes(try string(piece["case"]), cases))[(range[0] - 1)..<range[1]].flatMap { $0 }
    case ["varints", "before", "after"]:
        let range = try items(piece["varints"]).map(whole)
        let (before, after) = (try digits(piece["before"]), try digits(piece["after"]))
        return (range[0]...range[1]).flatMap { before + varint($0) + after }
    default: throw BrokenCase(what: "a piece has unknown keys: \(piece.names)")
    }
}

private func digits(_ tree: Json?) throws -> Bytes {
    guard let bytes = unhex(try string(tree)) else { throw BrokenCase(what: "no hexadecimal digits") }
    return bytes
}

/// Returns the lines of bytes, each with the line feed that ends it.
private func lines(_ data: Bytes) -> [Bytes] {
    let parts = data.split(separator: 0x0A, omittingEmptySubsequences: false).map { Bytes($0) }
    return parts.dropLast().map { $0 + [0x0A] } + parts.suffix(1)
}

private func varint(_ number: Int) -> Bytes {
    var (rest, bytes) = (number, Bytes())
    while rest > 0x7F {
        bytes.append(UInt8(rest & 0x7F | 0x80))
        rest >>= 7
    }
    return bytes + [UInt8(rest)]
}
