// Written by `make proto` from edge_runtime/wire/wire.proto, which says what each field is. Not for hands.

public struct Code: OpenEnum {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let codeUnspecified = Code(rawValue: 0)
    public static let accepted = Code(rawValue: 1)
    public static let malformed = Code(rawValue: 2)
    public static let unsupportedWire = Code(rawValue: 3)
    public static let wrongFederation = Code(rawValue: 4)
    public static let unknownDevice = Code(rawValue: 5)
    public static let unknownPlan = Code(rawValue: 6)
    public static let notPlanned = Code(rawValue: 7)
    public static let wrongSize = Code(rawValue: 8)
    public static let notFinite = Code(rawValue: 9)
    public static let normTooLarge = Code(rawValue: 10)
    public static let stale = Code(rawValue: 11)
    public static let duplicate = Code(rawValue: 12)
    public static let tooLarge = Code(rawValue: 13)
    public static let noExamples = Code(rawValue: 14)
    public static let digestMismatch = Code(rawValue: 15)
    public static let busy = Code(rawValue: 16)
    public static let storageFull = Code(rawValue: 17)
    public static let revoked = Code(rawValue: 18)
    public static let unsupportedCodec = Code(rawValue: 19)
    public static let badSignature = Code(rawValue: 20)
    public static let incomplete = Code(rawValue: 21)
    public static let names: [Int32: String] = [
        0: "CODE_UNSPECIFIED",
        1: "ACCEPTED",
        2: "MALFORMED",
        3: "UNSUPPORTED_WIRE",
        4: "WRONG_FEDERATION",
        5: "UNKNOWN_DEVICE",
        6: "UNKNOWN_PLAN",
        7: "NOT_PLANNED",
        8: "WRONG_SIZE",
        9: "NOT_FINITE",
        10: "NORM_TOO_LARGE",
        11: "STALE",
        12: "DUPLICATE",
        13: "TOO_LARGE",
        14: "NO_EXAMPLES",
        15: "DIGEST_MISMATCH",
        16: "BUSY",
        17: "STORAGE_FULL",
        18: "REVOKED",
        19: "UNSUPPORTED_CODEC",
        20: "BAD_SIGNATURE",
        21: "INCOMPLETE",
    ]
}

public struct Codec: OpenEnum {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let float32 = Codec(rawValue: 0)
    public static let int8 = Codec(rawValue: 1)
    public static let names: [Int32: String] = [
        0: "FLOAT32",
        1: "INT8",
    ]
}

public struct Kind: OpenEnum {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let kindUnspecified = Kind(rawValue: 0)
    public static let hello = Kind(rawValue: 1)
    public static let delta = Kind(rawValue: 2)
    public static let statistics = Kind(rawValue: 3)
    public static let blob = Kind(rawValue: 4)
    public static let keys = Kind(rawValue: 5)
    public static let shares = Kind(rawValue: 6)
    public static let answer = Kind(rawValue: 7)
    public static let names: [Int32: String] = [
        0: "KIND_UNSPECIFIED",
        1: "HELLO",
        2: "DELTA",
        3: "STATISTICS",
        4: "BLOB",
        5: "KEYS",
        6: "SHARES",
        7: "ANSWER",
    ]
}

public struct ExpertRef: Message {
    public static let name = "ExpertRef"
    public var layer: UInt32 = 0
    public var index: UInt32 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layer)
        case 2: try field.read(&index)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layer)
        writer.write(2, index)
    }
}

public struct GatewayState: Message {
    public static let name = "GatewayState"
    public var wireVersion: UInt32 = 0
    public var federationDigest: Bytes = []
    public var online: Bool = false
    public var session: Bytes = []
    public var version: UInt64 = 0
    public var round: UInt64 = 0
    public var roundsPlanned: UInt64 = 0
    public var finished: Bool = false
    public var serial: UInt64 = 0
    public var signature: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&federationDigest)
        case 3: try field.read(&online)
        case 4: try field.read(&session)
        case 5: try field.read(&version)
        case 6: try field.read(&round)
        case 7: try field.read(&roundsPlanned)
        case 8: try field.read(&finished)
        case 30: try field.read(fixed64: &serial)
        case 31: try field.read(&signature)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, federationDigest)
        writer.write(3, online)
        writer.write(4, session)
        writer.write(5, version)
        writer.write(6, round)
        writer.write(7, roundsPlanned)
        writer.write(8, finished)
        writer.write(30, fixed64: serial)
        writer.write(31, signature)
    }
}

public struct Hello: Message {
    public static let name = "Hello"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var federationDigest: Bytes = []
    public var packageDigest: Bytes = []
    public var gatewaySession: Bytes = []
    public var profile: String = ""
    public var runtime: String = ""
    public var trainedSlots: UInt32 = 0
    public var heldSlots: UInt32 = 0
    public var batchSize: UInt32 = 0
    public var stepMs: Float = 0
    public var examples: UInt32 = 0
    public var bytesUpPerRound: UInt64 = 0
    public var bytesDownPerRound: UInt64 = 0
    public var secondsPerRound: Float = 0
    public var codecs: [Codec] = []
    public var statisticsDigest: Bytes = []
    public var reaches: [Reach] = []
    public var masks: UInt32 = 0
    public var devices: UInt32 = 0
    public var signsKeys: Bool = false

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&federationDigest)
        case 4: try field.read(&packageDigest)
        case 5: try field.read(&gatewaySession)
        case 6: try field.read(&profile)
        case 7: try field.read(&runtime)
        case 8: try field.read(&trainedSlots)
        case 9: try field.read(&heldSlots)
        case 10: try field.read(&batchSize)
        case 11: try field.read(&stepMs)
        case 12: try field.read(&examples)
        case 13: try field.read(&bytesUpPerRound)
        case 14: try field.read(&bytesDownPerRound)
        case 15: try field.read(&secondsPerRound)
        case 16: try field.read(&codecs)
        case 17: try field.read(&statisticsDigest)
        case 18: try field.read(&reaches)
        case 19: try field.read(&masks)
        case 20: try field.read(&devices)
        case 21: try field.read(&signsKeys)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, federationDigest)
        writer.write(4, packageDigest)
        writer.write(5, gatewaySession)
        writer.write(6, profile)
        writer.write(7, runtime)
        writer.write(8, trainedSlots)
        writer.write(9, heldSlots)
        writer.write(10, batchSize)
        writer.write(11, stepMs)
        writer.write(12, examples)
        writer.write(13, bytesUpPerRound)
        writer.write(14, bytesDownPerRound)
        writer.write(15, secondsPerRound)
        writer.write(16, codecs)
        writer.write(17, statisticsDigest)
        writer.write(18, reaches)
        writer.write(19, masks)
        writer.write(20, devices)
        writer.write(21, signsKeys)
    }
}

public struct Reach: Message {
    public static let name = "Reach"
    public var layers: UInt32 = 0
    public var stepMs: Float = 0
    public var trunkMs: Float = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layers)
        case 2: try field.read(&stepMs)
        case 3: try field.read(&trunkMs)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layers)
        writer.write(2, stepMs)
        writer.write(3, trunkMs)
    }
}

public struct Bye: Message {
    public static let name = "Bye"
    public var wireVersion: UInt32 = 0
    public var device: String = ""

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
    }
}

public struct Plan: Message {
    public static let name = "Plan"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var round: UInt64 = 0
    public var baseVersion: UInt64 = 0
    public var versionDigest: Bytes = []
    public var train: [ExpertRef] = []
    public var steps: UInt32 = 0
    public var learningRate: Float = 0
    public var sharedLearningRate: Float = 0
    public var headLearningRate: Float = 0
    public var weightDecay: Float = 0
    public var seed: UInt64 = 0
    public var deadlineS: Float = 0
    public var codec: Codec = Codec(rawValue: 0)
    public var use: [LayerUse] = []
    public var balancePressure: Float = 0
    public var masks: [MaskTerms] = []
    public var serial: UInt64 = 0
    public var signature: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&round)
        case 4: try field.read(&baseVersion)
        case 5: try field.read(&versionDigest)
        case 6: try field.read(&train)
        case 7: try field.read(&steps)
        case 8: try field.read(&learningRate)
        case 9: try field.read(&sharedLearningRate)
        case 10: try field.read(&headLearningRate)
        case 11: try field.read(&weightDecay)
        case 12: try field.read(&seed)
        case 13: try field.read(&deadlineS)
        case 14: try field.read(&codec)
        case 15: try field.read(&use)
        case 16: try field.read(&balancePressure)
        case 17: try field.read(&masks)
        case 30: try field.read(fixed64: &serial)
        case 31: try field.read(&signature)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, round)
        writer.write(4, baseVersion)
        writer.write(5, versionDigest)
        writer.write(6, train)
        writer.write(7, steps)
        writer.write(8, learningRate)
        writer.write(9, sharedLearningRate)
        writer.write(10, headLearningRate)
        writer.write(11, weightDecay)
        writer.write(12, seed)
        writer.write(13, deadlineS)
        writer.write(14, codec)
        writer.write(15, use)
        writer.write(16, balancePressure)
        writer.write(17, masks)
        writer.write(30, fixed64: serial)
        writer.write(31, signature)
    }
}

public struct LayerUse: Message {
    public static let name = "LayerUse"
    public var layer: UInt32 = 0
    public var use: [Float] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layer)
        case 2: try field.read(&use)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layer)
        writer.write(2, use)
    }
}

public struct Delta: Message {
    public static let name = "Delta"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var planDigest: Bytes = []
    public var round: UInt64 = 0
    public var baseVersion: UInt64 = 0
    public var examples: UInt32 = 0
    public var codec: Codec = Codec(rawValue: 0)
    public var experts: [ExpertDelta] = []
    public var lossFirst: Float = 0
    public var lossLast: Float = 0
    public var stepMs: Float = 0
    public var steps: UInt32 = 0
    public var use: [ExpertUse] = []
    public var labelCounts: [Float] = []
    public var members: Bytes = []
    public var masked: [MaskedCircle] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&planDigest)
        case 4: try field.read(&round)
        case 5: try field.read(&baseVersion)
        case 6: try field.read(&examples)
        case 7: try field.read(&codec)
        case 8: try field.read(&experts)
        case 9: try field.read(&lossFirst)
        case 10: try field.read(&lossLast)
        case 11: try field.read(&stepMs)
        case 12: try field.read(&steps)
        case 13: try field.read(&use)
        case 14: try field.read(&labelCounts)
        case 15: try field.read(&members)
        case 16: try field.read(&masked)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, planDigest)
        writer.write(4, round)
        writer.write(5, baseVersion)
        writer.write(6, examples)
        writer.write(7, codec)
        writer.write(8, experts)
        writer.write(9, lossFirst)
        writer.write(10, lossLast)
        writer.write(11, stepMs)
        writer.write(12, steps)
        writer.write(13, use)
        writer.write(14, labelCounts)
        writer.write(15, members)
        writer.write(16, masked)
    }
}

public struct ExpertDelta: Message {
    public static let name = "ExpertDelta"
    public var layer: UInt32 = 0
    public var index: UInt32 = 0
    public var values: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layer)
        case 2: try field.read(&index)
        case 3: try field.read(&values)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layer)
        writer.write(2, index)
        writer.write(3, values)
    }
}

public struct ExpertUse: Message {
    public static let name = "ExpertUse"
    public var layer: UInt32 = 0
    public var index: UInt32 = 0
    public var routed: Float = 0
    public var seen: Float = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layer)
        case 2: try field.read(&index)
        case 3: try field.read(&routed)
        case 4: try field.read(&seen)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layer)
        writer.write(2, index)
        writer.write(3, routed)
        writer.write(4, seen)
    }
}

public struct ClassStatistics: Message {
    public static let name = "ClassStatistics"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var federationDigest: Bytes = []
    public var width: UInt32 = 0
    public var counts: Bytes = []
    public var sums: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&federationDigest)
        case 4: try field.read(&width)
        case 5: try field.read(&counts)
        case 6: try field.read(&sums)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, federationDigest)
        writer.write(4, width)
        writer.write(5, counts)
        writer.write(6, sums)
    }
}

public struct PartialSum: Message {
    public static let name = "PartialSum"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var planDigest: Bytes = []
    public var round: UInt64 = 0
    public var baseVersion: UInt64 = 0
    public var devices: UInt32 = 0
    public var blocks: [BlockSum] = []
    public var examples: UInt32 = 0
    public var lossFirst: Float = 0
    public var lossLast: Float = 0
    public var stepMs: Float = 0
    public var mostExamples: UInt32 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&planDigest)
        case 4: try field.read(&round)
        case 5: try field.read(&baseVersion)
        case 6: try field.read(&devices)
        case 7: try field.read(&blocks)
        case 8: try field.read(&examples)
        case 9: try field.read(&lossFirst)
        case 10: try field.read(&lossLast)
        case 11: try field.read(&stepMs)
        case 12: try field.read(&mostExamples)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, planDigest)
        writer.write(4, round)
        writer.write(5, baseVersion)
        writer.write(6, devices)
        writer.write(7, blocks)
        writer.write(8, examples)
        writer.write(9, lossFirst)
        writer.write(10, lossLast)
        writer.write(11, stepMs)
        writer.write(12, mostExamples)
    }
}

public struct BlockSum: Message {
    public static let name = "BlockSum"
    public var layer: UInt32 = 0
    public var index: UInt32 = 0
    public var values: Bytes = []
    public var weights: Bytes = []
    public var devices: UInt32 = 0
    public var steps: Bytes = []
    public var size: UInt64 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layer)
        case 2: try field.read(&index)
        case 3: try field.read(&values)
        case 4: try field.read(&weights)
        case 5: try field.read(&devices)
        case 6: try field.read(&steps)
        case 7: try field.read(&size)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layer)
        writer.write(2, index)
        writer.write(3, values)
        writer.write(4, weights)
        writer.write(5, devices)
        writer.write(6, steps)
        writer.write(7, size)
    }
}

public struct PartialStatistics: Message {
    public static let name = "PartialStatistics"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var federationDigest: Bytes = []
    public var width: UInt32 = 0
    public var devices: UInt32 = 0
    public var counts: Bytes = []
    public var sums: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&federationDigest)
        case 4: try field.read(&width)
        case 5: try field.read(&devices)
        case 6: try field.read(&counts)
        case 7: try field.read(&sums)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, federationDigest)
        writer.write(4, width)
        writer.write(5, devices)
        writer.write(6, counts)
        writer.write(7, sums)
    }
}

public struct Chunk: Message {
    public static let name = "Chunk"
    public var wireVersion: UInt32 = 0
    public var kind: Kind = Kind(rawValue: 0)
    public var digest: Bytes = []
    public var index: UInt32 = 0
    public var count: UInt32 = 0
    public var total: UInt64 = 0
    public var payload: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&kind)
        case 3: try field.read(&digest)
        case 4: try field.read(&index)
        case 5: try field.read(&count)
        case 6: try field.read(&total)
        case 7: try field.read(&payload)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, kind)
        writer.write(3, digest)
        writer.write(4, index)
        writer.write(5, count)
        writer.write(6, total)
        writer.write(7, payload)
    }
}

public struct Verdict: Message {
    public static let name = "Verdict"
    public var wireVersion: UInt32 = 0
    public var kind: Kind = Kind(rawValue: 0)
    public var digest: Bytes = []
    public var code: Code = Code(rawValue: 0)
    public var detail: String = ""
    public var retryAfterS: Float = 0
    public var wantStatistics: Bool = false
    public var round: UInt64 = 0
    public var missing: Bytes = []
    public var serial: UInt64 = 0
    public var signature: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&kind)
        case 3: try field.read(&digest)
        case 4: try field.read(&code)
        case 5: try field.read(&detail)
        case 6: try field.read(&retryAfterS)
        case 7: try field.read(&wantStatistics)
        case 8: try field.read(&round)
        case 9: try field.read(&missing)
        case 30: try field.read(fixed64: &serial)
        case 31: try field.read(&signature)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, kind)
        writer.write(3, digest)
        writer.write(4, code)
        writer.write(5, detail)
        writer.write(6, retryAfterS)
        writer.write(7, wantStatistics)
        writer.write(8, round)
        writer.write(9, missing)
        writer.write(30, fixed64: serial)
        writer.write(31, signature)
    }
}

public struct Version: Message {
    public static let name = "Version"
    public var wireVersion: UInt32 = 0
    public var federationDigest: Bytes = []
    public var version: UInt64 = 0
    public var parent: UInt64 = 0
    public var digest: Bytes = []
    public var round: UInt64 = 0
    public var blocks: [Block] = []
    public var serial: UInt64 = 0
    public var signature: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&federationDigest)
        case 3: try field.read(&version)
        case 4: try field.read(&parent)
        case 5: try field.read(&digest)
        case 6: try field.read(&round)
        case 7: try field.read(&blocks)
        case 30: try field.read(fixed64: &serial)
        case 31: try field.read(&signature)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, federationDigest)
        writer.write(3, version)
        writer.write(4, parent)
        writer.write(5, digest)
        writer.write(6, round)
        writer.write(7, blocks)
        writer.write(30, fixed64: serial)
        writer.write(31, signature)
    }
}

public struct Block: Message {
    public static let name = "Block"
    public var layer: UInt32 = 0
    public var index: UInt32 = 0
    public var digest: Bytes = []
    public var updates: [Update] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&layer)
        case 2: try field.read(&index)
        case 3: try field.read(&digest)
        case 4: try field.read(&updates)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, layer)
        writer.write(2, index)
        writer.write(3, digest)
        writer.write(4, updates)
    }
}

public struct Update: Message {
    public static let name = "Update"
    public var base: Bytes = []
    public var digest: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&base)
        case 2: try field.read(&digest)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, base)
        writer.write(2, digest)
    }
}

public struct Want: Message {
    public static let name = "Want"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var digests: [Bytes] = []
    public var missing: [Bytes] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&digests)
        case 4: try field.read(&missing)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, digests)
        writer.write(4, missing)
    }
}

public struct Offer: Message {
    public static let name = "Offer"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var kind: Kind = Kind(rawValue: 0)
    public var digest: Bytes = []
    public var count: UInt32 = 0
    public var total: UInt64 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&kind)
        case 4: try field.read(&digest)
        case 5: try field.read(&count)
        case 6: try field.read(&total)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, kind)
        writer.write(4, digest)
        writer.write(5, count)
        writer.write(6, total)
    }
}

public struct MaskTerms: Message {
    public static let name = "MaskTerms"
    public var version: UInt32 = 0
    public var circles: [CircleTerms] = []
    public var limit: UInt32 = 0
    public var mostWeight: UInt32 = 0
    public var examplesPerWeight: Float = 0
    public var expertStep: Float = 0
    public var sharedStep: Float = 0
    public var headStep: Float = 0
    public var expertNorm: Float = 0
    public var sharedNorm: Float = 0
    public var headNorm: Float = 0
    public var classStep: Float = 0
    public var classExamples: Float = 0
    public var wholeNorm: UInt64 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&version)
        case 2: try field.read(&circles)
        case 3: try field.read(&limit)
        case 4: try field.read(&mostWeight)
        case 5: try field.read(&examplesPerWeight)
        case 6: try field.read(&expertStep)
        case 7: try field.read(&sharedStep)
        case 8: try field.read(&headStep)
        case 9: try field.read(&expertNorm)
        case 10: try field.read(&sharedNorm)
        case 11: try field.read(&headNorm)
        case 12: try field.read(&classStep)
        case 13: try field.read(&classExamples)
        case 14: try field.read(&wholeNorm)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, version)
        writer.write(2, circles)
        writer.write(3, limit)
        writer.write(4, mostWeight)
        writer.write(5, examplesPerWeight)
        writer.write(6, expertStep)
        writer.write(7, sharedStep)
        writer.write(8, headStep)
        writer.write(9, expertNorm)
        writer.write(10, sharedNorm)
        writer.write(11, headNorm)
        writer.write(12, classStep)
        writer.write(13, classExamples)
        writer.write(14, wholeNorm)
    }
}

public struct CircleTerms: Message {
    public static let name = "CircleTerms"
    public var number: UInt32 = 0
    public var blocks: [ExpertRef] = []
    public var variance: UInt64 = 0
    public var least: UInt32 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&number)
        case 2: try field.read(&blocks)
        case 3: try field.read(&variance)
        case 4: try field.read(&least)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, number)
        writer.write(2, blocks)
        writer.write(3, variance)
        writer.write(4, least)
    }
}

public struct MaskRound: Message {
    public static let name = "MaskRound"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var round: UInt64 = 0
    public var planDigest: Bytes = []
    public var members: Bytes = []
    public var dealt: Bytes = []
    public var survivors: Bytes = []
    public var serial: UInt64 = 0
    public var signature: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&round)
        case 4: try field.read(&planDigest)
        case 5: try field.read(&members)
        case 6: try field.read(&dealt)
        case 7: try field.read(&survivors)
        case 30: try field.read(fixed64: &serial)
        case 31: try field.read(&signature)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, round)
        writer.write(4, planDigest)
        writer.write(5, members)
        writer.write(6, dealt)
        writer.write(7, survivors)
        writer.write(30, fixed64: serial)
        writer.write(31, signature)
    }
}

public struct MaskKeys: Message {
    public static let name = "MaskKeys"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var planDigest: Bytes = []
    public var sharing: Bytes = []
    public var masking: [CircleKey] = []
    public var round: UInt64 = 0
    public var certificate: Bytes = []
    public var signature: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&planDigest)
        case 4: try field.read(&sharing)
        case 5: try field.read(&masking)
        case 6: try field.read(&round)
        case 7: try field.read(&certificate)
        case 8: try field.read(&signature)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, planDigest)
        writer.write(4, sharing)
        writer.write(5, masking)
        writer.write(6, round)
        writer.write(7, certificate)
        writer.write(8, signature)
    }
}

public struct CircleKey: Message {
    public static let name = "CircleKey"
    public var circle: UInt32 = 0
    public var key: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&circle)
        case 2: try field.read(&key)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, circle)
        writer.write(2, key)
    }
}

public struct MaskMembers: Message {
    public static let name = "MaskMembers"
    public var wireVersion: UInt32 = 0
    public var round: UInt64 = 0
    public var members: [MaskMember] = []
    public var circles: [MaskCircle] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&round)
        case 3: try field.read(&members)
        case 4: try field.read(&circles)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, round)
        writer.write(3, members)
        writer.write(4, circles)
    }
}

public struct MaskMember: Message {
    public static let name = "MaskMember"
    public var digest: Bytes = []
    public var sharing: Bytes = []
    public var masking: [CircleKey] = []
    public var keys: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&digest)
        case 2: try field.read(&sharing)
        case 3: try field.read(&masking)
        case 4: try field.read(&keys)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, digest)
        writer.write(2, sharing)
        writer.write(3, masking)
        writer.write(4, keys)
    }
}

public struct MaskCircle: Message {
    public static let name = "MaskCircle"
    public var number: UInt32 = 0
    public var neighbours: UInt32 = 0
    public var threshold: UInt32 = 0
    public var least: UInt32 = 0
    public var bits: UInt32 = 0

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&number)
        case 2: try field.read(&neighbours)
        case 3: try field.read(&threshold)
        case 4: try field.read(&least)
        case 5: try field.read(&bits)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, number)
        writer.write(2, neighbours)
        writer.write(3, threshold)
        writer.write(4, least)
        writer.write(5, bits)
    }
}

public struct MaskShares: Message {
    public static let name = "MaskShares"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var members: Bytes = []
    public var shares: [SealedShares] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&members)
        case 4: try field.read(&shares)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, members)
        writer.write(4, shares)
    }
}

public struct SealedShares: Message {
    public static let name = "SealedShares"
    public var place: UInt32 = 0
    public var data: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&place)
        case 2: try field.read(&data)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, place)
        writer.write(2, data)
    }
}

public struct MaskDealt: Message {
    public static let name = "MaskDealt"
    public var wireVersion: UInt32 = 0
    public var members: Bytes = []
    public var dealt: Bytes = []
    public var shares: [SealedShares] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&members)
        case 3: try field.read(&dealt)
        case 4: try field.read(&shares)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, members)
        writer.write(3, dealt)
        writer.write(4, shares)
    }
}

public struct MaskedCircle: Message {
    public static let name = "MaskedCircle"
    public var number: UInt32 = 0
    public var words: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&number)
        case 2: try field.read(&words)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, number)
        writer.write(2, words)
    }
}

public struct MaskSurvivors: Message {
    public static let name = "MaskSurvivors"
    public var wireVersion: UInt32 = 0
    public var members: Bytes = []
    public var dealt: Bytes = []
    public var survivors: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&members)
        case 3: try field.read(&dealt)
        case 4: try field.read(&survivors)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, members)
        writer.write(3, dealt)
        writer.write(4, survivors)
    }
}

public struct MaskAnswer: Message {
    public static let name = "MaskAnswer"
    public var wireVersion: UInt32 = 0
    public var device: String = ""
    public var survivors: Bytes = []
    public var shares: [ToldShare] = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&wireVersion)
        case 2: try field.read(&device)
        case 3: try field.read(&survivors)
        case 4: try field.read(&shares)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, wireVersion)
        writer.write(2, device)
        writer.write(3, survivors)
        writer.write(4, shares)
    }
}

public struct ToldShare: Message {
    public static let name = "ToldShare"
    public var circle: UInt32 = 0
    public var place: UInt32 = 0
    public var share: Bytes = []

    public init() {}

    public mutating func read(_ field: inout FieldReader) throws {
        switch field.number {
        case 1: try field.read(&circle)
        case 2: try field.read(&place)
        case 3: try field.read(&share)
        default: break
        }
    }

    public func write(to writer: inout FieldWriter) {
        writer.write(1, circle)
        writer.write(2, place)
        writer.write(3, share)
    }
}
