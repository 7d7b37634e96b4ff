/// What this software raises on purpose; `description` is one line for people.
public protocol FederationError: Error, CustomStringConvertible, Sendable {}

/// A device package is missing, damaged, or not what its manifest says.
public struct PackageError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// A bank or a block of one has the wrong shape, digest or values.
public struct BankError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// An enrolment file cannot be used; the text says which key is wrong and how, and holds no secret.
public struct EnrolmentError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// A broker's URL cannot be used; the text shows nothing that may be secret.
public struct BrokerUrlError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// A label prior cannot be taken.
public struct LabelPriorError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// Bytes or a message are refused.
public struct WireError: FederationError {
    /// The same number in every language.
    public let code: Code
    /// For people; holds no user text.
    public let detail: String

    public init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
    }

    public var description: String { "\(code.name): \(detail)" }
}

func malformed(_ detail: String) -> WireError { WireError(.malformed, detail) }

/// Throws MALFORMED unless a condition holds.
func need(_ condition: Bool, _ detail: @autoclosure () -> String) throws {
    if !condition { throw malformed(detail()) }
}
