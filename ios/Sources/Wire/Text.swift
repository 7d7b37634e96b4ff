/// Text for people that came from elsewhere: short, and without characters that steer a terminal or turn a line around.
///
/// The rule names code points, not the category tables of one Unicode version, so that every language decides alike.
private func unfit(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x00...0x1F, 0x7F...0x9F: return true // C0, DEL and C1 controls
    case 0x061C, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069: return true // separators, marks of direction
    default: return false
    }
}

/// Returns whether `text` is one line of at most `limit` UTF-8 bytes that may be shown as it is.
public func plain(_ text: String, _ limit: Int) -> Bool {
    text.utf8.count <= limit && !text.unicodeScalars.contains(where: unfit)
}

/// Returns `text` as one short ASCII line for an error message, whatever it holds.
func shown(_ text: String, _ limit: Int = 80) -> String {
    var line = "\""
    for scalar in text.unicodeScalars {
        guard line.utf8.count < limit else { return line + "..." }
        line += (0x20...0x7E).contains(scalar.value) ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
    }
    return line + "\""
}

/// Returns texts as ``shown`` does, the first few of them.
func shown(_ texts: [String]) -> String { texts.prefix(5).map { shown($0, 40) }.joined(separator: ", ") }
