/// Where the time of a program goes.
extension Session {
    /// The time that one run of a program spends in ops of one kind.
    package struct OpTime: Sendable {
        package let kind: String
        package var count = 0
        package var seconds = 0.0
        /// The work of all these ops, for the segments and targets of the batch.
        package var work: [Work] = []
        /// On a card, the calls and seconds of each kernel or product that these ops launched, by its name.
        package var parts: [String: (count: Int, seconds: Double)] = [:]
    }

    /// Runs one training micro-batch (its gradient stays in the gradients) and returns the seconds of each kind of op, most first.
    package func profile(_ batch: TokenBatch) throws -> [OpTime] {
        try times(of: program(.training, tokens: Self.batchRows(batch.rows, backend.target)), batch.workload(on: model)) {
            _ = try accumulate(batch, zeroFirst: true)
        }
    }

    /// The same for one new token of each of `sequences` sequences that have `positions` tokens already. Their keys and values are whatever memory held.
    package func profileDecoding(sequences: Int, positions: Int) throws -> [OpTime] {
        defer { releaseCaches() }
        let room = Self.roundedUp(positions + 1)
        var rows = DecodingRows()
        for slot in 0..<sequences { rows.append(0, position: positions, slot: slot) }
        let program = decodingProgram(rows: sequences, slots: sequences, positions: room, outputRows: sequences)
        return try times(of: program, Workload()) {
            _ = try run(rows, lengths: Array(repeating: room, count: sequences), positions: room, outputRows: Array(0..<sequences))
        }
    }

    /// - Parameter run: runs the program once.
    private func times(of program: Program, _ load: Workload, _ run: () throws -> Void) throws -> [OpTime] {
        let context = WorkContext(values: program.values, target: program.target, load: load)
        var times: [String: OpTime] = [:]
        var last: (any Op)?
        observer = { op, label, seconds in
            var time = times[op.kind] ?? OpTime(kind: op.kind)
            // A card reports an op once for each kernel: the op itself is counted at the first.
            if op.writes != last?.writes {
                time.count += 1
                time.work += op.work(context)
            }
            last = op
            time.seconds += seconds
            let part = time.parts[label] ?? (0, 0)
            time.parts[label] = (part.count + 1, part.seconds + seconds)
            times[op.kind] = time
        }
        defer { observer = nil }
        try run()
        return times.values.sorted { ($0.seconds, $1.kind) > ($1.seconds, $0.kind) }
    }
}
