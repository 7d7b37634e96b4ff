/// The label prior: a model's probabilities, moved towards the labels that one device has (SPEC.md, "Label prior"). Axis: C
/// labels.

/// Powers of the ratio of the device's label frequencies to uniform ones: off, half, full.
public let priorStrengths = [0, 0.5, 1]

/// Examples that every label is given beside its own, so that a label without any can still be predicted.
private let smoothing = 1.0

/// Returns what the probability of each label is multiplied by, [C]: (n_l + 1) to the power of `strength`.
///
/// - Parameters:
///   - counts: [C], examples of each label on this device.
///   - strength: one of ``priorStrengths``.
/// - Throws: ``LabelPriorError`` for another strength, or counts that are negative or not finite.
public func labelWeights(_ counts: [Float], strength: Double) throws -> [Double] {
    guard priorStrengths.contains(strength) else {
        throw LabelPriorError("label prior of strength \(strength), expected one of \(priorStrengths)")
    }
    guard counts.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
        throw LabelPriorError("label counts are negative or not finite; count the labels again")
    }
    return counts.map { count in
        let smoothed = Double(count) + smoothing
        return strength == 1 ? smoothed : strength == 0 ? 1 : smoothed.squareRoot()
    }
}

/// Returns probabilities [C] under a label prior: p_l w_l / sum p_k w_k. Where all weights are alike every bit stays.
///
/// - Throws: ``LabelPriorError`` when there are not as many weights as probabilities.
public func withPrior(_ probabilities: [Float], _ weights: [Double]) throws -> [Float] {
    guard weights.count == probabilities.count else {
        throw LabelPriorError("a label prior of \(weights.count) labels for \(probabilities.count) probabilities")
    }
    if weights.allSatisfy({ $0 == weights[0] }) { return probabilities }
    let products = zip(probabilities, weights).map { Double($0) * $1 }
    let total = products.reduce(0, +)
    return products.map { Float($0 / total) }
}
