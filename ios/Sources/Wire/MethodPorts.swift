/// Returns what a method takes and gives, in order; an output named like an input replaces it in the next call.
public func methodSpec(_ model: ModelShape, _ method: MethodShape) -> MethodSpec {
    let ports = MethodPorts(model: model, method: method)
    return MethodSpec(inputs: ports.inputs, outputs: ports.outputs)
}

private func port(_ name: String, _ shape: Int...) -> TensorSpec { TensorSpec(name, "float32", shape) }

private func wholePort(_ name: String, _ shape: Int...) -> TensorSpec { TensorSpec(name, "int64", shape) }

/// Puts lists together; a chain of `+` takes the compiler seconds.
private func listed(_ parts: [TensorSpec]...) -> [TensorSpec] { parts.flatMap { $0 } }

/// The axes are those of ProgramInterface.swift.
private struct MethodPorts {
    let model: ModelShape
    let method: MethodShape

    private var bank: BankShape { model.bank }
    private var rows: Int { method.layers > 0 ? method.layers : bank.layers.count }

    private var values: [TensorSpec] {
        let head = bank.labels > 0 ? [port(Ports.head, bank.headSize)] : []
        return listed([port(Ports.trained, rows, method.trained, bank.expertSize)], shared, head)
    }

    private var moments: [TensorSpec] {
        values.flatMap { value in Ports.moments(value.name).map { TensorSpec($0, value.dtype, value.shape) } }
    }

    private var sums: [TensorSpec] { values.map { TensorSpec(Ports.gradientSum($0.name), $0.dtype, $0.shape) } }

    private var boundary: [TensorSpec] { Ports.boundary.map { port($0, method.rows, method.sequence, bank.width) } }

    private var head: [TensorSpec] {
        bank.labels == 0 ? [] : [port(Ports.head, bank.headSize), port(Ports.mean, bank.meanSize)]
    }

    private var shared: [TensorSpec] { bank.sharedRank > 0 ? [port(Ports.shared, rows, bank.sharedSize)] : [] }

    private var gate: TensorSpec { port(Ports.gateScale, rows, method.held) }

    private var steering: [TensorSpec] { [port(Ports.updateMask, rows, method.trained), port(Ports.hyper, Hyper.size)] }

    private var balance: [TensorSpec] {
        model.topK == 0 ? [] : [port(Ports.balanceTarget, rows, method.held), port(Ports.balanceWeight, rows)]
    }

    /// What stands in the layers below those that are trained; nothing where all are.
    private var lower: [TensorSpec] {
        let below = bank.layers.count - rows
        if below == 0 { return [] }
        let shared = bank.sharedRank > 0 ? [port(Ports.lowerShared, below, bank.sharedSize)] : []
        return listed([port(Ports.lowerExperts, below, bank.experts, bank.expertSize)], shared)
    }

    private var texts: [TensorSpec] {
        let taken = method.cut ? boundary : lower + [wholePort(Ports.ids, method.rows, method.sequence)]
        return taken + [
            wholePort(Ports.positions, method.rows, method.sequence),
            port(Ports.attend, method.rows, method.sequence, method.sequence),
        ]
    }

    private var readout: TensorSpec { port(Ports.readout, method.batch, method.places) }

    private var answers: [TensorSpec] {
        model.vocabulary > 0
            ? [wholePort(Ports.targets, method.rows, method.sequence), port(Ports.weights, method.rows, method.sequence)]
            : [readout, port(Ports.labels, method.batch, bank.labels)]
    }

    var inputs: [TensorSpec] {
        switch method.kind {
        case .trunk: return texts
        case .predict:
            let experts = port(Ports.experts, rows, method.held, bank.expertSize)
            return listed([experts], shared, head, [gate], texts, [readout])
        case .apply: return listed(values, moments, sums, steering)
        case .train: return step(moments, steering)
        case .accumulate: return step(sums, [port(Ports.share, 1)])
        }
    }

    private func step(_ kept: [TensorSpec], _ steering: [TensorSpec]) -> [TensorSpec] {
        let frozen = method.frozen > 0 ? [port(Ports.frozen, rows, method.frozen, bank.expertSize)] : []
        let mask = port(Ports.mask, method.rows, method.sequence)
        return listed([values[0]], frozen, shared, head, kept, [gate], steering, balance, texts, [mask], answers)
    }

    var outputs: [TensorSpec] {
        switch method.kind {
        case .trunk: return boundary
        case .predict:
            let probabilities = port(Ports.probabilities, method.batch, bank.labels > 0 ? bank.labels : model.vocabulary)
            return [probabilities] + (bank.labels > 0 ? [port(Ports.features, method.batch, bank.width)] : [])
        case .apply: return values + moments
        case .train: return listed(told, values, moments)
        case .accumulate: return told + sums
        }
    }

    private var told: [TensorSpec] {
        let logits = bank.labels > 0 ? [port(Ports.logits, method.batch, bank.labels)] : []
        let statistics = Ports.routerStatistics.prefix(model.topK > 0 ? 2 : 1).map { port($0, rows, method.held) }
        return listed([port(Ports.loss, 1)], logits, statistics)
    }
}
