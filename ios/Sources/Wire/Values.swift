/// Values of a block <-> bytes. float32 is exact; int8 has one scale for each 64 values (linear, symmetric).
///
/// int8 layout for n values: ceil(n / 64) little-endian float32 scales, then n signed bytes; value = scale * byte, byte in
/// [-127, 127], scale = max|v| / 127 over its group (0 for an all-zero group), byte = v / scale rounded half to even and
/// clipped. All in float32, so that two languages write the same bytes.
private let group = 64

/// 127 times the rounded quotient would be infinite for the largest float32 itself.
private let largestScale = (Float.greatestFiniteMagnitude / 127).nextDown

private func groups(_ count: Int) -> Int { (count + group - 1) / group }

/// Returns the bytes of `count` values. Throws: ``WireError`` UNSUPPORTED_CODEC.
public func encodedSize(_ count: Int, _ codec: Codec) throws -> Int {
    switch codec {
    case .float32: return 4 * count
    case .int8: return 4 * groups(count) + count
    default: throw WireError(.unsupportedCodec, "codec \(codec.rawValue); known: 0 (float32), 1 (int8)")
    }
}

/// Writes values. Throws: ``WireError`` UNSUPPORTED_CODEC, or NOT_FINITE for NaN or infinity.
public func encodeValues(_ values: [Float], _ codec: Codec = .float32) throws -> Bytes {
    _ = try encodedSize(values.count, codec)
    try checkFinite(values)
    if codec == .float32 { return floatBytes(values) }
    let scales = (0..<groups(values.count)).map { number -> Float in
        let most = values[number * group..<min(values.count, (number + 1) * group)].reduce(0) { max($0, abs($1)) }
        return min(most / 127, largestScale)
    }
    return floatBytes(scales) + values.enumerated().map { place, value in
        UInt8(bitPattern: quantum(value, scales[place / group]))
    }
}

/// A group of denormals has a scale of 0 and decodes to zeros, as it should.
private func quantum(_ value: Float, _ scale: Float) -> Int8 {
    scale > 0 ? Int8(min(max((value / scale).rounded(.toNearestOrEven), -127), 127)) : 0
}

/// Reads `count` values.
///
/// - Throws: ``WireError`` WRONG_SIZE, NOT_FINITE, UNSUPPORTED_CODEC, or MALFORMED for a negative scale or the byte -128.
public func decodeValues(_ data: Bytes, _ count: Int, _ codec: Codec = .float32) throws -> [Float] {
    let expected = try encodedSize(count, codec)
    guard data.count == expected else {
        throw WireError(.wrongSize, "\(data.count) bytes of values, expected \(expected) for \(count) values")
    }
    let values = codec == .float32 ? floats(data, count) : try int8Values(data, count)
    try checkFinite(values)
    return values
}

/// Returns `count` float32 values that stand little-endian at the beginning of `data`.
func floats(_ data: Bytes, _ count: Int) -> [Float] {
    [UInt32](unsafeUninitializedCapacity: count) { words, size in
        data.withUnsafeBytes { UnsafeMutableRawBufferPointer(words).copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<(4 * count)])) }
        size = count
    }.map { Float(bitPattern: UInt32(littleEndian: $0)) }
}

/// Returns values as little-endian float32.
func floatBytes(_ values: [Float]) -> Bytes {
    values.map(\.bitPattern.littleEndian).withUnsafeBytes { Bytes($0) }
}

private func int8Values(_ data: Bytes, _ count: Int) throws -> [Float] {
    let scales = floats(data, groups(count))
    try need(!scales.contains { $0 < 0 }, "a scale of int8 values is negative")
    let quanta = data[(4 * scales.count)...].map { Int8(bitPattern: $0) }
    try need(!quanta.contains(-128), "a byte of int8 values is -128, expected -127 to 127")
    return quanta.enumerated().map { place, quantum in scales[place / group] * Float(quantum) }
}

func checkFinite(_ values: [Float]) throws {
    let wrong = values.reduce(0) { $0 + ($1.isFinite ? 0 : 1) }
    guard wrong == 0 else { throw WireError(.notFinite, "\(wrong) of \(values.count) values are NaN or infinite") }
}
