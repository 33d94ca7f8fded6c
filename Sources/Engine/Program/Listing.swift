extension Program {
    /// The program as a table a newcomer can read: number, op, result shapes, GFLOP, MB moved, predicted time, what stays alive, offsets.
    ///
    /// - Parameters:
    ///   - load: the data, and how the weights are stored.
    ///   - model: of the device; nil leaves the times out.
    package func listing(_ load: Workload = Workload(), _ model: DeviceModel? = nil) -> String {
        let context = WorkContext(values: values, target: target, load: load)
        let work = ops.map { $0.work(context) }
        var lines = [
            "\(purpose.label) program, T = \(tokens) tokens: \(ops.count) ops, \(Self.number(work.joined().matrixFlops / 1e9)) GFLOP in matrix products, "
                + (model.map { "about \(Self.number($0.seconds(work.joined()) * 1e3)) ms, " } ?? "") + "arena \(Self.number(Double(arenaBytes) / 1e6)) MB",
            "   op                     GFLOP     MB moved" + (model == nil ? "" : "   microsec.") + "  writes (name [shape] @offset, first-last op)",
        ]
        for (index, op) in ops.enumerated() {
            if index == firstBackwardOp { lines.append("   -- backward --") }
            let results = op.writes.map { describe($0) }.joined(separator: "; ")
            let head = Self.pad("\(index)", 4, left: true) + "  " + Self.pad(op.kind, 20)
            let numbers =
                [(work[index].matrixFlops / 1e9, 9), (work[index].bytesMoved / 1e6, 11)] + (model.map { [($0.seconds(work[index]) * 1e6, 11)] } ?? [])
            let amounts = numbers.map { Self.pad(Self.number($0.0), $0.1, left: true) }.joined(separator: " ")
            lines.append(head + amounts + "  " + results + (op.detail.isEmpty ? "" : "  <- \(op.detail)"))
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func describe(_ id: ValueID) -> String {
        let value = values[id]
        let shape = "[" + value.shape.map(String.init).joined(separator: ",") + "]"
        switch value.kind {
        case .parameterGradient: return "\(value.name) \(shape) += flat gradient @\(value.flatOffset)"
        case .persistent: return "\(value.name) \(shape) persistent"
        case .parked: return "\(value.name) \(shape) in the host's memory @\(value.flatOffset)"
        default: break
        }
        guard let offset = schedule.offsets[id.index], let lifetime = schedule.lifetimes[id.index] else { return "\(value.name) \(shape)" }
        return "\(value.name) \(shape) @\(offset), \(lifetime.lowerBound)-\(lifetime.upperBound)"
    }

    private static func pad(_ text: String, _ width: Int, left: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, width - text.count))
        return left ? space + text : text + space
    }

    /// Three decimals, without a formatting library.
    private static func number(_ x: Double) -> String {
        let thousandths = Int64((x * 1000).rounded())
        let fraction = String(thousandths % 1000)
        return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
    }
}

extension ProgramPurpose {
    package var label: String {
        switch self {
        case .training: "training"
        case .evaluation: "evaluation"
        case .step: "optimiser step"
        case .decoding(let slots, let positions, _): "decoding (\(slots) slots of \(positions) positions)"
        }
    }
}
