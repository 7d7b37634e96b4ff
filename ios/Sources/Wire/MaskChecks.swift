/// What a plan and a delta say of sums under masks: SPEC.md, "Rounds under masks". Swift takes no part in them.

/// Of the rules for rounds under masks, as a plan's terms name them.
private let masksVersion: UInt32 = 1
/// Likewise, with noise.
private let noiseVersion: UInt32 = 2
private let mostNorm: UInt64 = 1 << 31
private let variances: ClosedRange<UInt64> = 16...(1 << 25)
private let survivors: ClosedRange<UInt32> = 3...4096
/// Circles of a plan.
private let mostCircles = 64
/// Of an integer's size.
private let mostLimit: UInt32 = 1 << 20
private let mostStep = 1e6
/// Integers of class sums at most, and their smallest step.
private let mostClassLimit = Double(1 << 30)
private let leastClassStep = 1 / Double(1 << 30)
/// What a circle of class sums has in the place of blocks of the bank.
private let classSums = ExpertId(ExpertId.reserved, 2)

func checkTerms(_ plan: Plan) throws {
    try need(plan.masks.count == 1, "\(plan.masks.count) terms of masks, expected one")
    let terms = plan.masks[0]
    guard terms.version == masksVersion || terms.version == noiseVersion else {
        let known = "\(masksVersion) and \(noiseVersion) are known here"
        throw WireError(.unsupportedWire, "masks of version \(terms.version), \(known)")
    }
    try checkNoise(terms)
    try checkCircles(terms.circles.map(\.number), "circles of a plan")
    var listed: [ExpertId] = []
    var asked = 0 // circles of class sums
    for circle in terms.circles {
        try need(!circle.blocks.isEmpty, "circle \(circle.number) has no blocks")
        let blocks = try ascending(circle.blocks.map { ($0.layer, $0.index) }, "blocks of a circle")
        if blocks == [classSums] { asked += 1 } else { listed += blocks }
    }
    try need(asked <= 1, "\(asked) circles of class sums, expected one")
    let planned = try ascending(plan.train.map { ($0.layer, $0.index) }, "planned experts")
    try need(listed.sorted() == planned, "circles have other blocks than the plan")
    try need((1...mostLimit).contains(terms.limit), "integers of up to \(terms.limit), expected 1 to \(mostLimit)")
    try need((1...terms.limit).contains(terms.mostWeight), "weights up to \(terms.mostWeight), expected 1 to \(terms.limit)")
    try checkNumber(terms.examplesPerWeight, "examples_per_weight", high: mostStep)
    try need(terms.examplesPerWeight > 0, "a weight that stands for no examples")
    if listed.contains(.head) { try checkSizes(terms.headStep, terms.headNorm, "head") }
    if listed.contains(where: { $0 != .head && $0.isShared }) { try checkSizes(terms.sharedStep, terms.sharedNorm, "shared") }
    if listed.contains(where: { $0 != .head && !$0.isShared }) { try checkSizes(terms.expertStep, terms.expertNorm, "expert") }
    if asked > 0 { try checkClassTerms(terms) }
}

private func checkClassTerms(_ terms: MaskTerms) throws {
    try checkNumber(terms.classStep, "class_step", low: leastClassStep, high: mostStep)
    try need(terms.classStep.significand == 1, "class_step \(terms.classStep) is no power of two")
    try checkNumber(terms.classExamples, "class_examples", high: mostClassLimit * Double(terms.classStep))
    try need(terms.classExamples > 0, "class sums of no examples")
}

/// Noise is told whole, and only where it is asked for.
private func checkNoise(_ terms: MaskTerms) throws {
    if terms.version == masksVersion {
        let told = terms.wholeNorm != 0 || terms.circles.contains { $0.variance != 0 || $0.least != 0 }
        try need(!told, "noise in terms of version \(masksVersion)")
        return
    }
    try need((1...mostNorm).contains(terms.wholeNorm), "a norm of \(terms.wholeNorm), expected 1 to \(mostNorm)")
    try need(terms.mostWeight == 1, "weights up to \(terms.mostWeight) beside noise, expected 1")
    for circle in terms.circles {
        try need(variances.contains(circle.variance), "noise of variance \(circle.variance), expected 16 to \(1 << 25)")
        try need(survivors.contains(circle.least), "noise for \(circle.least) survivors, expected 3 to 4096")
    }
}

func checkMasked(_ delta: Delta) throws {
    try checkDigest(delta.members, "digest of a list of members")
    try checkCircles(delta.masked.map(\.number), "circles of a delta")
    let clear = !(delta.experts.isEmpty && delta.use.isEmpty && delta.labelCounts.isEmpty)
    try need(!clear, "a delta under masks with values that are not")
    try need(delta.masked.allSatisfy { !$0.words.isEmpty }, "a circle without values")
}

private func checkSizes(_ step: Float, _ norm: Float, _ kind: String) throws {
    for (value, what) in [(step, "step"), (norm, "norm")] {
        try checkNumber(value, "\(kind)_\(what)", high: mostStep)
        try need(value > 0, "\(kind)_\(what) is 0, and such a block is trained")
    }
}

private func checkCircles(_ numbers: [UInt32], _ what: String) throws {
    guard numbers.count <= mostCircles else {
        throw WireError(.tooLarge, "\(numbers.count) \(what), limit \(mostCircles)")
    }
    try need(!numbers.isEmpty, "no \(what)")
    try ascending(numbers, what)
}
