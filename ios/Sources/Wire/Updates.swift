/// Updates of a block: an earlier block of the same shape and an int8 difference make the newer one. SPEC.md, "Updates".
///
/// Two roundings to float32, one of scale times byte and one of base plus product, so that every language makes the same
/// bytes; a fused multiply-add would make others.

/// Returns the bytes of an update of a block of so many values.
public func updateBytes(_ values: Int) -> Int { (try? encodedSize(values, .int8)) ?? 0 }

/// Returns the block that `update` makes of `base`.
///
/// - Throws: ``WireError`` WRONG_SIZE or MALFORMED of the update, or NOT_FINITE of its products or of a sum.
public func applyUpdate(_ base: [Float], _ update: Bytes) throws -> [Float] {
    let values = zip(base, try decodeValues(update, base.count, .int8)).map { $0 + $1 }
    try checkFinite(values)
    return values
}
