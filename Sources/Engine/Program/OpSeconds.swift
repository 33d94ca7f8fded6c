extension Program {
    /// The predicted time of the ops of one kind.
    package struct OpSeconds: Sendable, Equatable {
        package let kind: String
        package let count: Int
        package let seconds: Double
    }

    /// Predicted seconds by kind of op, the longest first; kinds of equal time stand in the program's order.
    package func secondsByKind(_ load: Workload, _ model: DeviceModel) -> [OpSeconds] {
        let context = WorkContext(values: values, target: target, load: load)
        var kinds: [String] = []
        var sums: [String: (count: Int, seconds: Double)] = [:]
        for op in ops {
            if sums[op.kind] == nil { kinds.append(op.kind) }
            let sum = sums[op.kind] ?? (0, 0)
            sums[op.kind] = (sum.count + 1, sum.seconds + model.seconds(op.work(context)))
        }
        let all = kinds.map { OpSeconds(kind: $0, count: sums[$0]?.count ?? 0, seconds: sums[$0]?.seconds ?? 0) }
        return all.enumerated().sorted { ($1.element.seconds, $0.offset) < ($0.element.seconds, $1.offset) }.map(\.element)
    }
}
