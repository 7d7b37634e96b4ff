/// The program's interface: what every method of a program.pte takes and gives, as edge_runtime/wire/program_interface.py.
///
/// Axes: L adapted layers, k of them that a method trains, M experts, m trained and f frozen slots, H = m + f, P values of an
/// expert, Ps of a shared expert, C labels, d width, B texts of a call at most, R rows of S places, N = R*S, V vocabulary of a
/// language head. A call takes its texts packed: a row holds whole texts, one behind the other (``pack(_:_:)``). A program's file
/// does not name its tensors: they stand in the order of SPEC.md, "Program interface", and a runtime finds one by the names
/// below.
#if canImport(Darwin)
import Darwin
#elseif canImport(Glibc)
import Glibc
#endif

/// Version of all that stands here; a manifest of another is refused.
public let programInterface = 3

/// The 8 numbers of `hyper`.
public enum Hyper {
    /// AdamW's constants, inside every program; the bias corrections follow from them.
    public static let beta1 = 0.9
    /// Decay of the second moment.
    public static let beta2 = 0.999
    /// Numbers of `hyper`; those after the places below are 0.
    public static let size = 8
    /// Where a step's numbers stand.
    public static let places = [
        "learning_rate": 0, "head_learning_rate": 1, "weight_decay": 2, "first_correction": 3, "second_correction": 4,
        "shared_learning_rate": 5,
    ]

    /// Returns the numbers for optimizer step `step`, from 1: rates, decay, bias corrections.
    public static func values(
        step: Int, learningRate: Double, headLearningRate: Double = 0, sharedLearningRate: Double = 0, weightDecay: Double = 0
    ) -> [Float] {
        var hyper = [Float](repeating: 0, count: size)
        let named = [
            "learning_rate": learningRate, "head_learning_rate": headLearningRate, "weight_decay": weightDecay,
            "first_correction": 1 / (1 - pow(beta1, Double(step))), "second_correction": 1 / (1 - pow(beta2, Double(step))),
            "shared_learning_rate": sharedLearningRate,
        ]
        for (name, place) in places { hyper[place] = Float(named[name]!) }
        return hyper
    }
}

/// Names of a program's inputs and outputs.
public enum Ports {
    public static let experts = "experts"
    /// [L - k, M, P]: what a trunk runs, and its tier does not train: every expert of the layers below.
    public static let lowerExperts = "lower_experts"
    public static let lowerShared = "lower_shared"
    public static let trained = "trained"
    public static let frozen = "frozen"
    public static let shared = "shared"
    public static let head = "head"
    public static let mean = "mean"
    public static let gateScale = "gate_scale"
    public static let updateMask = "update_mask"
    public static let hyper = "hyper"
    public static let share = "share"
    public static let balanceTarget = "balance_target"
    public static let balanceWeight = "balance_weight"
    public static let ids = "ids"
    /// A token's place in its own text, from 0.
    public static let positions = "positions"
    /// [R, S, S]: 1 where a place may look at another, because both hold the same text.
    public static let attend = "attend"
    public static let mask = "mask"
    /// [B, N]: weights by which the hidden states of all places make a text's one: 1/n at its n tokens, or 1 at its last.
    public static let readout = "readout"
    public static let prefix = "prefix"
    public static let residual = "residual"
    public static let labels = "labels"
    public static let targets = "targets"
    public static let weights = "weights"
    public static let loss = "loss"
    public static let logits = "logits"
    public static let usage = "usage"
    public static let affinity = "affinity"
    public static let probabilities = "probabilities"
    public static let features = "features"

    /// What a step changes, in order; each has two moments, and in micro-batches a sum of gradients.
    public static let trainable = [trained, shared, head]
    /// What a trunk gives and a cut training method takes, [R, S, d] each.
    public static let boundary = [prefix, residual]
    /// Means over the call's tokens, [k, H]; the second with top-k gates only.
    public static let routerStatistics = [usage, affinity]

    /// Returns the names of AdamW's two moments of a trainable tensor.
    public static func moments(_ name: String) -> [String] { ["\(name)_m1", "\(name)_m2"] }

    /// Returns the name of the sum of a trainable tensor's gradients over micro-batches.
    public static func gradientSum(_ name: String) -> String { "\(name)_sum" }
}

/// What a method is for; its word begins its name.
public enum MethodKind: String, CaseIterable, Sendable {
    case train, accumulate, apply, predict, trunk
}

/// Sizes that all methods of a program share.
public struct ModelShape: Sendable {
    public let bank: BankShape
    /// k in top-k mode, 0 for soft gates.
    public let topK: Int
    /// V, rows of the language head of a model that continues texts; else 0.
    public let vocabulary: Int

    public init(_ bank: BankShape, topK: Int = 0, vocabulary: Int = 0) {
        (self.bank, self.topK, self.vocabulary) = (bank, topK, vocabulary)
    }
}

/// Sizes of one method.
public struct MethodShape: Hashable, Sendable {
    public let kind: MethodKind
    /// m; for `predict` all held experts count here; 0 for `trunk`.
    public var trained = 0
    /// f.
    public var frozen = 0
    /// S; 0 for `apply`.
    public var sequence = 0
    /// R; of one call for `accumulate`; 0 for `apply`.
    public var rows = 0
    /// B; for `accumulate` of the whole step; 0 for `apply` and `trunk`, which tell nothing of a text.
    public var batch = 0
    /// What is computed twice instead of kept; of the name only.
    public var recompute = "none"
    /// Takes the trunk's results instead of token ids.
    public var cut = false
    /// k, the adapted layers that are trained, counted from the top; of `trunk` those of its tier; 0 for all L.
    public var layers = 0

    public init(_ kind: MethodKind) { self.kind = kind }

    /// H = m + f.
    public var held: Int { trained + frozen }

    /// N, or as much of it as an Int holds: a file may claim anything.
    public var places: Int { product([rows], sequence) ?? .max }

    /// Name of the method in programs that export writes.
    public var name: String {
        let word = layers > 0 ? "\(kind.rawValue)_l\(layers)" : kind.rawValue
        switch kind {
        case .trunk: return "\(word)_s\(sequence)_r\(rows)"
        case .predict: return "\(kind.rawValue)_s\(sequence)_r\(rows)_b\(batch)"
        case .apply: return "\(word)_m\(trained)"
        case .train, .accumulate:
            let whole = "\(word)_m\(trained)_f\(frozen)_s\(sequence)_r\(rows)_b\(batch)"
            return sameText(recompute, "none") ? whole : "\(whole)_\(recompute)"
        }
    }
}
