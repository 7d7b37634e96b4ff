/// Which texts a call takes, and where they stand in its rows: SPEC.md, "Packing"; as edge_runtime/wire/packing.py.
///
/// Axes: R rows of S places, B texts at most. Texts are short and their lengths differ, so a row holds several of them, one
/// behind the other, and next to nothing of a step is padding.

/// What a call has room for.
public struct Capacity: Equatable, Sendable {
    /// R.
    public let rows: Int
    /// S; a longer text is cut.
    public let sequence: Int
    /// B.
    public let batch: Int

    public init(rows: Int, sequence: Int, batch: Int) {
        (self.rows, self.sequence, self.batch) = (rows, sequence, batch)
    }

    /// N = R*S.
    public var places: Int { rows * sequence }
}

/// Where a text stands.
public struct Stand: Equatable, Sendable {
    /// From 0.
    public let row: Int
    /// Its first place in the row.
    public let first: Int
    /// Its tokens.
    public let count: Int

    public init(row: Int, first: Int, count: Int) { (self.row, self.first, self.count) = (row, first, count) }

    /// The place behind its last token.
    public var end: Int { first + count }
}

/// Returns where the next texts stand: of as many of them, in their order, as fit; at least of one.
///
/// The first k texts fit when first-fit decreasing places them (Johnson, 1973): the longest first, equal ones in order, each
/// in the first row that has room. The largest such k is taken.
///
/// - Parameter lengths: tokens of the texts that come next; those beyond B are not looked at. 0 is a text without a token.
public func pack<Lengths: Sequence>(_ lengths: Lengths, _ capacity: Capacity) -> [Stand] where Lengths.Element == Int {
    let cut = lengths.prefix(capacity.batch).map { min($0, capacity.sequence) }
    for count in stride(from: cut.count, to: 0, by: -1) {
        if let stands = placed(Array(cut[..<count]), capacity) { return stands }
    }
    return []
}

/// Returns where texts stand, in their order; nil when not all of them have a place.
private func placed(_ lengths: [Int], _ capacity: Capacity) -> [Stand]? {
    guard lengths.reduce(0, +) <= capacity.places else { return nil }
    var taken = [Int](repeating: 0, count: capacity.rows)
    var stands = [Stand](repeating: Stand(row: 0, first: 0, count: 0), count: lengths.count)
    for text in lengths.indices.sorted(by: { (-lengths[$0], $0) < (-lengths[$1], $1) }) {
        guard let row = taken.firstIndex(where: { $0 + lengths[text] <= capacity.sequence }) else { return nil }
        stands[text] = Stand(row: row, first: taken[row], count: lengths[text])
        taken[row] += lengths[text]
    }
    return stands
}

/// Returns how many texts each step takes when all of `lengths` are packed, one step after the other.
public func packedSteps(_ lengths: [Int], _ capacity: Capacity) -> [Int] {
    var taken: [Int] = []
    var start = 0
    while start < lengths.count {
        taken.append(pack(lengths[start...], capacity).count)
        start += taken.last!
    }
    return taken
}

/// Returns whether steps are nearly full of texts: 9/10 of the texts a step that unlimited rows would take.
public func holds(_ lengths: [Int], _ capacity: Capacity) -> Bool {
    9 * packedSteps(lengths, capacity).count <= 10 * ((lengths.count + capacity.batch - 1) / capacity.batch)
}
