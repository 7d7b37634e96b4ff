/// What a device does next, as two tables without I/O, clock or chance; those of edge_runtime/federation/session.py.
///
/// ``LinkState`` is where the device stands with the gateway, ``WorkState`` what it does for the present plan; the two are
/// independent, so training goes on while the link is down. Events come in, a new session and the actions to take come out. A
/// pair that neither table has throws and changes nothing. The messages behind: edge_runtime/wire/SPEC.md.

/// Where the device stands with the gateway. The raw values are for people, and the same in Python.
public enum LinkState: String, CaseIterable, Sendable {
    /// No broker.
    case offline
    /// A broker, no gateway.
    case listening
    /// Said hello, waits for the verdict.
    case greeting
    case member
    /// The gateway serves another federation: silent.
    case stranger
    /// Removed by the operator, or the gateway cannot talk to this software: the end.
    case expelled
}

/// What the device does for a plan.
public enum WorkState: String, CaseIterable, Sendable {
    case idle
    /// Has a plan, lacks its version or membership.
    case waiting
    case training
    /// Keeps a delta until its verdict.
    case uploading
}

/// What happened.
public enum Event: String, CaseIterable, Sendable {
    case linkUp = "link up"
    case linkDown = "link down"
    /// Online, our federation, a session that we did not greet yet.
    case gateway
    case gatewayGone = "gateway gone"
    /// Online, another federation.
    case foreign
    /// Hello accepted.
    case welcome
    /// The gateway does not know us: hello again.
    case unknown
    case expel
    /// No verdict for the hello in time.
    case helloDue = "hello due"
    /// A plan that is neither done nor the present one.
    case plan
    case withdrawn
    /// A member, and the plan's version is complete.
    case ready
    /// A block of the plan's version is not what was stored.
    case damaged
    case trained
    /// The plan cannot be carried out here.
    case failed
    case resendDue = "resend due"
    /// A final verdict on the delta.
    case settled
}

/// What to do.
public enum Action: String, CaseIterable, Sendable {
    case hello
    case train
    /// Stop training, drop its checkpoint.
    case abandon
    /// Offer the delta; the gateway says which of its chunks lack.
    case offer
    /// Ask for every block that is missing, those asked for before as well.
    case fetch
}

/// Where a device stands; starts offline, with the work that its store remembers.
public struct Session: Equatable, Sendable {
    public let link: LinkState
    public let work: WorkState

    public init(link: LinkState = .offline, work: WorkState = .idle) { (self.link, self.work) = (link, work) }

    /// Whether the gateway knows this device.
    public var member: Bool { link == .member }

    /// Returns the session after an event and what to do, in order.
    ///
    /// A delta is offered to a gateway that knows the device only: before, `offer` is left out, and `welcome` offers it.
    ///
    /// - Throws: ``SessionError`` when neither table has a place for the event; nothing is changed.
    public func after(_ event: Event) throws -> (Session, [Action]) {
        let (nextLink, nextWork) = (Self.next(link, event), Self.next(work, event))
        guard nextLink != nil || nextWork != nil else {
            throw SessionError("event '\(event.rawValue)' has no place while \(link.rawValue) and \(work.rawValue)")
        }
        let after = Session(link: nextLink?.0 ?? link, work: nextWork?.0 ?? work)
        let actions = (nextLink?.1 ?? []) + (nextWork?.1 ?? [])
        return (after, actions.filter { after.member || $0 != .offer })
    }

    private static func next(_ link: LinkState, _ event: Event) -> (LinkState, [Action])? {
        switch (link, event) {
        case (.offline, .linkUp): return (.listening, [])
        case (.expelled, _): return nil
        case (_, .linkDown): return (.offline, [])
        case (.offline, _): return nil
        case (_, .gatewayGone): return (.listening, [])
        case (_, .foreign): return (.stranger, [])
        case (_, .gateway): return (.greeting, [.hello])
        case (.greeting, .helloDue): return (.greeting, [.hello])
        case (.greeting, .welcome): return (.member, [.fetch]) // it remembers no earlier Want
        case (.greeting, .unknown): return (.greeting, [])
        case (.member, .unknown): return (.greeting, [.hello])
        case (.greeting, .expel), (.member, .expel): return (.expelled, [])
        default: return nil
        }
    }

    private static func next(_ work: WorkState, _ event: Event) -> (WorkState, [Action])? {
        switch (work, event) {
        case (.idle, .plan): return (.waiting, [])
        case (.idle, .withdrawn): return (.idle, [])
        case (.waiting, .plan): return (.waiting, [])
        case (.waiting, .withdrawn): return (.idle, [])
        case (.waiting, .ready): return (.training, [.train])
        case (.waiting, .failed): return (.idle, [])
        case (.training, .plan): return (.training, []) // finish first: a late delta still counts
        case (.training, .withdrawn): return (.idle, [.abandon])
        case (.training, .trained): return (.uploading, [.offer])
        case (.training, .damaged): return (.waiting, [.fetch])
        case (.training, .failed): return (.idle, [.abandon])
        case (.uploading, .plan): return (.uploading, [.offer]) // the round moved on: its verdict was lost
        case (.uploading, .withdrawn): return (.uploading, [])
        case (.uploading, .resendDue): return (.uploading, [.offer])
        case (.uploading, .welcome): return (.uploading, [.offer])
        case (.uploading, .settled): return (.idle, [])
        default: return nil
        }
    }
}
