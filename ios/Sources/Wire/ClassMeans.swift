/// The start of a classifier's head: class means of frozen features (SPEC.md, "Start of a head"). Axes: C labels, d width.

/// Bias of a label without examples, in logit scales: every other logit is above -2 of them.
private let absentLabel = -5.0
private let leastLength = 1e-12

/// Sums of frozen features by label.
public struct ClassSums: Sendable {
    /// [C], examples of each label.
    public let counts: [Float]
    /// [C, d].
    public let sums: [Float]

    public init(counts: [Float], sums: [Float]) { (self.counts, self.sums) = (counts, sums) }

    private var width: Int { counts.isEmpty ? 0 : sums.count / counts.count }

    /// Returns the bytes of a ClassStatistics. Throws: ``WireError`` NOT_FINITE.
    public func message(device: String, federationDigest: Bytes) throws -> Bytes {
        var message = ClassStatistics()
        message.wireVersion = wireVersion
        message.device = device
        message.federationDigest = federationDigest
        message.width = UInt32(width)
        message.counts = try encodeValues(counts)
        message.sums = try encodeValues(sums)
        return message.encoded()
    }

    /// Returns the head's block [C * (d + 1)] and the mean's [d], computed in float64.
    ///
    /// Row c is the mean of label c less the mean of all, made 1 long; a row without direction is 0. A label without examples
    /// gets a row of 0 and a bias below any logit.
    ///
    /// - Throws: ``BankError`` when there is no example at all.
    public func classMeanHead(logitScale: Double) throws -> (head: [Float], mean: [Float]) {
        let examples = counts.reduce(0.0) { $0 + Double($1) }
        guard examples > 0 else { throw BankError("class sums of 0 examples; a head starts from at least one") }
        let mean = (0..<width).map { at in
            counts.indices.reduce(0.0) { $0 + Double(sums[$1 * width + at]) } / examples
        }
        var weights: [Float] = []
        var biases: [Float] = []
        for label in counts.indices {
            let known = counts[label] > 0
            weights += known ? row(label, mean).map { Float($0) } : [Float](repeating: 0, count: width)
            biases.append(known ? 0 : Float(absentLabel * logitScale))
        }
        return (weights + biases, mean.map { Float($0) })
    }

    private func row(_ label: Int, _ mean: [Double]) -> [Double] {
        let row = (0..<width).map { Double(sums[label * width + $0]) / Double(counts[label]) - mean[$0] }
        let length = row.reduce(0.0) { $0 + $1 * $1 }.squareRoot()
        return row.map { length > leastLength ? $0 / length : 0 }
    }
}
