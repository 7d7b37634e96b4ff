/// Texts packed into rows: what a method takes beside what the texts say, from where each of them stands; as
/// edge_runtime/data/packed.py.
///
/// Axes: B texts at most, R rows of S places, N = R*S, T texts of a call, n tokens of a text. The contract says which texts a
/// call takes and where they stand (``EdgeWire/pack(_:_:)``); here are the arrays that follow. Places that hold no token are 0 in
/// all of them.
import EdgeWire

/// Where the T texts of a call stand.
public struct Packed: Sendable {
    public let capacity: Capacity
    /// Of each text; one without tokens stands nowhere.
    public let stands: [Stand]

    /// The call that the first of some texts make: as many as the contract's rule takes, at least one.
    ///
    /// - Parameter counts: tokens of the next texts, B of them or fewer at the end of the data; longer ones are cut at S.
    public init(next counts: [Int], _ capacity: Capacity) {
        (self.capacity, stands) = (capacity, pack(counts, capacity))
    }

    /// A call of at most R texts, each alone at the beginning of a row.
    public init(inOwnRows counts: [Int], _ capacity: Capacity) {
        self.capacity = capacity
        stands = counts.enumerated().map { Stand(row: $0, first: 0, count: $1) }
    }

    /// T.
    public var size: Int { stands.count }

    /// Places that hold a token.
    public var tokens: Int { stands.reduce(0) { $0 + $1.count } }

    /// Slot and stand of each text that has tokens, in order.
    private var placed: [(Int, Stand)] { stands.enumerated().filter { $1.count > 0 }.map { ($0, $1) } }

    private var places: [Int] { [capacity.rows, capacity.sequence] }

    /// Returns the number of a text's first place among all N.
    private func start(_ stand: Stand) -> Int { stand.row * capacity.sequence + stand.first }

    /// Returns `positions` [R, S] and `attend` [R, S, S] by name: what every method takes of where texts stand.
    public func frame() -> [String: TensorValue] {
        let length = capacity.sequence
        var positions = [Int64](repeating: 0, count: capacity.places)
        var attend = [Float](repeating: 0, count: capacity.places * length)
        for (_, stand) in placed {
            for place in 0..<stand.count {
                positions[start(stand) + place] = Int64(place)
                let line = (start(stand) + place) * length
                for other in stand.first..<stand.end { attend[line + other] = 1 }
            }
        }
        return [
            Ports.positions: TensorValue(positions, places),
            Ports.attend: TensorValue(attend, places + [length]),
        ]
    }

    /// Returns [R, S]: the n ids of each text at its places.
    public func spread(_ ids: [[Int64]]) -> TensorValue {
        var spread = [Int64](repeating: 0, count: capacity.places)
        for (slot, stand) in placed {
            for place in 0..<stand.count { spread[start(stand) + place] = ids[slot][place] }
        }
        return TensorValue(spread, places)
    }

    /// Returns [R, S]: 1 at tokens.
    public func mask() -> TensorValue {
        var mask = [Float](repeating: 0, count: capacity.places)
        for (_, stand) in placed {
            for place in 0..<stand.count { mask[start(stand) + place] = 1 }
        }
        return TensorValue(mask, places)
    }

    /// Returns the readout [B, N] by which a text is the mean of its tokens: 1/n at each.
    public func means() -> TensorValue {
        var readout = [Float](repeating: 0, count: capacity.batch * capacity.places)
        for (slot, stand) in placed {
            for place in 0..<stand.count {
                readout[slot * capacity.places + start(stand) + place] = 1 / Float(stand.count)
            }
        }
        return TensorValue(readout, [capacity.batch, capacity.places])
    }
}
