/// An object of a JSON tree that is read key by key; every refusal names the place in the tree.
final class JsonObject {
    private let place: String
    private let members: Named<Json>
    private var asked = Named<Bool>()

    private init(_ tree: Json, _ place: String) throws {
        guard let members = tree.named else { throw PackageError("\(place) is \(Self.kind(tree)), expected an object") }
        (self.members, self.place) = (members, place)
    }

    /// Builds a value from an object's keys and refuses keys that `build` did not ask for. Throws: ``PackageError``.
    static func read<Value>(_ tree: Json, _ place: String, _ build: (JsonObject) throws -> Value) throws -> Value {
        let object = try JsonObject(tree, place)
        let value = try build(object)
        let unknown = object.members.names.filter { object.asked[$0] == nil }
        guard unknown.isEmpty else { throw PackageError("\(place): unknown keys \(shown(unknown))") }
        return value
    }

    private static func kind(_ tree: Json) -> String {
        switch tree {
        case .members: return "an object"
        case .items: return "a list"
        case .text(let text): return shown(text, 60)
        case .whole(let number): return "\(number)"
        case .fraction(let number): return "\(number)"
        case .truth(let truth): return "\(truth)"
        case .null: return "null"
        }
    }

    private static func refuse(_ tree: Json, _ place: String, _ expected: String) -> PackageError {
        PackageError("\(place.prefix(200)) is \(kind(tree)), expected \(expected)")
    }

    private static func text(_ tree: Json, _ place: String) throws -> String {
        guard case .text(let text) = tree else { throw refuse(tree, place, "a text") }
        return text
    }

    private static func whole(_ tree: Json, _ place: String) throws -> Int {
        guard case .whole(let number) = tree else { throw refuse(tree, place, "a whole number") }
        return number
    }

    private static func number(_ tree: Json, _ place: String) throws -> Double {
        switch tree {
        case .whole(let number): return Double(number)
        case .fraction(let number): return number
        default: throw refuse(tree, place, "a number")
        }
    }

    private static func truth(_ tree: Json, _ place: String) throws -> Bool {
        guard case .truth(let truth) = tree else { throw refuse(tree, place, "true or false") }
        return truth
    }

    private func value<Value>(_ name: String, _ read: (Json, String) throws -> Value) throws -> Value {
        asked[name] = true
        guard let tree = members[name] else { throw PackageError("\(place): missing key \(name)") }
        return try read(tree, "\(place).\(name)")
    }

    private func has(_ name: String) -> Bool { members[name] != nil }

    private func list<Value>(_ name: String, _ read: (Json, String) throws -> Value) throws -> [Value] {
        try value(name) { tree, place in
            guard case .items(let items) = tree else { throw Self.refuse(tree, place, "a list") }
            return try items.enumerated().map { try read($1, "\(place)[\($0)]") }
        }
    }

    private func map<Value>(_ name: String, _ read: (Json, String) throws -> Value) throws -> Named<Value> {
        try value(name) { tree, place in
            guard let members = tree.named else { throw Self.refuse(tree, place, "an object") }
            return try members.entries.reduce(into: Named()) { $0[$1.name] = try read($1.value, "\(place).\($1.name)") }
        }
    }

    func text(_ name: String) throws -> String { try value(name, Self.text) }

    func text(_ name: String, or other: String) throws -> String { has(name) ? try text(name) : other }

    func whole(_ name: String) throws -> Int { try value(name, Self.whole) }

    func whole(_ name: String, or other: Int) throws -> Int { has(name) ? try whole(name) : other }

    func number(_ name: String) throws -> Double { try value(name, Self.number) }

    func number(_ name: String, or other: Double) throws -> Double { has(name) ? try number(name) : other }

    func truth(_ name: String) throws -> Bool { try value(name, Self.truth) }

    func truth(_ name: String, or other: Bool) throws -> Bool { has(name) ? try truth(name) : other }

    func texts(_ name: String) throws -> [String] { try list(name, Self.text) }

    /// Texts; a key that is not there is none.
    func optionalTexts(_ name: String) throws -> [String] { has(name) ? try texts(name) : [] }

    func wholes(_ name: String) throws -> [Int] { try list(name, Self.whole) }

    func object<Value>(_ name: String, _ build: (JsonObject) throws -> Value) throws -> Value {
        try value(name) { try Self.read($0, $1, build) }
    }

    func objects<Value>(_ name: String, _ build: (JsonObject) throws -> Value) throws -> [Value] {
        try list(name) { try Self.read($0, $1, build) }
    }

    func objectsByName<Value>(_ name: String, _ build: (JsonObject) throws -> Value) throws -> Named<Value> {
        try map(name) { try Self.read($0, $1, build) }
    }

    func textsByName(_ name: String) throws -> Named<String> { try map(name, Self.text) }

    /// Numbers by name; a key that is not there is none.
    func optionalNumbers(_ name: String) throws -> Named<Double> { has(name) ? try map(name, Self.number) : Named() }

    /// An object that is kept as it came.
    func anything(_ name: String) throws -> Named<Json> { try map(name) { tree, _ in tree } }
}
