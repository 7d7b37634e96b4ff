import EdgeWire

/// An event has no place in the session tables.
public struct SessionError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// A plan cannot be carried out by this package, or on this device.
public struct PlanError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// The engine cannot open or execute a program.
public struct EngineError: FederationError {
    public let description: String
    public init(_ description: String) { self.description = description }
}
