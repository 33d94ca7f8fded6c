import LorikeetDevices
import LorikeetGround

/// How many micro-batches of a step the processor computes at once, each by a replica: a session with threads and gradients of its own, which shares the
/// frozen weights, the trained parameters and the memory of the arena.
///
/// Many threads do one micro-batch badly: every op waits for the slowest of them, and each has too little of a product. Replicas wait for one another
/// once a step. docs/decisions/0020-replicas.md has the measurements behind the numbers here.
package struct Replicas: Sendable, Hashable {
    /// 1 computes one micro-batch after the other, on all threads.
    package let count: Int
    /// The most rows of a micro-batch that a replica computes; one with more is computed on all threads.
    package let rows: Int

    /// Rows of a micro-batch on all threads: enough for a product's full rate, few enough for the processor's caches and memory.
    private static let rowsAlone = 1024
    /// Rows that all replicas compute at once.
    private static let rowsTogether = 2048
    /// The most replicas: with more, each would have too few rows of a step.
    private static let most = 8
    /// Threads of a replica, and samples of a step that there have to be for each, so that their micro-batches can be of about one size.
    private static let threadsEach = 4, samplesEach = 2
    /// How many rows replicas compute in the time in which all threads compute four rows of one micro-batch.
    private static let gain = 5

    /// One micro-batch after the other.
    package static let one = Self(count: 1, rows: rowsAlone)

    package init(count: Int, rows: Int) { (self.count, self.rows) = (max(1, count), max(1, rows)) }

    /// Those of a training on so many threads.
    package init(threads: Int, samplesPerStep: Int) {
        count = max(1, min(threads / Self.threadsEach, samplesPerStep / Self.samplesEach, Self.most))
        rows = min(Self.rowsAlone, Self.rowsTogether / count)
    }

    /// Threads of a replica.
    ///
    /// - Parameter all: of all replicas.
    func threads(of replica: Int, all: Int) -> Int { max(1, all * (replica + 1) / count - all * replica / count) }

    /// Which micro-batches are computed on all threads, and which by each replica: a larger one before a smaller one, each where the fewest rows are so far.
    ///
    /// - Parameter sizes: rows of the micro-batches.
    /// - Returns: indices into `sizes`; of the replicas, by replica.
    package func deal(_ sizes: [Int]) -> (alone: [Int], shares: [[Int]]) {
        guard count > 1 else { return (Array(sizes.indices), []) }
        var (shares, rows) = ([[Int]](repeating: [], count: count), [Int](repeating: 0, count: count))
        for index in sizes.indices.sorted(by: { (sizes[$1], $0) < (sizes[$0], $1) }) where sizes[index] <= self.rows {
            let least = rows.indices.min { (rows[$0], $0) < (rows[$1], $1) } ?? 0
            shares[least].append(index)
            rows[least] += sizes[index]
        }
        return (sizes.indices.filter { sizes[$0] > self.rows }, shares)
    }

    /// How long micro-batches of these sizes take, in fifths of the time of a row on all threads: a row of a replica takes four of them, and every replica waits
    /// for the one with the most rows.
    package func work(_ sizes: [Int]) -> Int {
        let (alone, shares) = deal(sizes)
        let longest = shares.map { $0.reduce(0) { $0 + sizes[$1] } }.max() ?? 0
        return alone.reduce(0) { $0 + sizes[$1] } * Self.gain + count * longest * 4
    }
}

extension Session {
    /// A session for each replica of `sizes.replicas`; none for a single one, and none on a card. Their arenas are given to them later.
    ///
    /// - Throws: exit 4 when memory cannot be had.
    static func replicas(of model: Model, _ sizes: SessionSizes, _ passes: PassPolicy) throws -> [Session] {
        guard sizes.replicas.count > 1, model.placed == nil, sizes.training > 0 else { return [] }
        return try (0..<sizes.replicas.count).map { replica in
            let threads = sizes.replicas.threads(of: replica, all: model.cpu.threads)
            return try Session(model: Model(replicaOf: model, threads: threads), sizes: sizes.ofReplica, passes: passes)
        }
    }

    /// Bytes of the arenas of the replicas.
    var replicaArenas: [Int] {
        replicas.map { $0.program(.training, tokens: Self.batchRows($0.sizes.training, $0.backend.target)).arenaBytes }
    }

    /// Forward and backward passes of all micro-batches of a step, as `sizes.replicas` deals them out: sets `model.adapters.gradients` to the gradient of
    /// sum(weight * -log p) over all of them.
    ///
    /// Gradients are added up in this order: those of the micro-batches on all threads, then the sums of the replicas, each over its micro-batches. The same
    /// micro-batches on the same number of threads have the same bits.
    ///
    /// - Returns: the results of the micro-batches.
    /// - Throws: as `accumulate`.
    package func accumulate(atOnce batches: [TokenBatch]) throws -> [MicroBatchResult] {
        let (alone, shares) = (replicas.isEmpty ? .one : sizes.replicas).deal(batches.map(\.rows))
        var outcomes = [Result<MicroBatchResult, any Error>?](repeating: nil, count: batches.count)
        for (place, index) in alone.enumerated() { outcomes[index] = .success(try accumulate(batches[index], zeroFirst: place == 0)) }
        outcomes.withUnsafeMutableBufferPointer { outcomes in
            model.cpu.parallel(over: shares.count) { number in
                for (place, index) in shares[number].enumerated() {
                    let outcome = Result { try replicas[number].accumulate(batches[index], zeroFirst: place == 0) }
                    outcomes[index] = outcome
                    guard case .success = outcome else { return }
                }
            }
        }
        let failures = outcomes.compactMap { if case .failure(let error) = $0 { error } else { nil } }
        if let failure = failures.first(where: { !($0 is Interrupted) }) ?? failures.first { throw failure }
        try addGradients(of: zip(replicas, shares).filter { !$1.isEmpty }.map(\.0), zeroFirst: alone.isEmpty)
        return try outcomes.compactMap { try $0?.get() }
    }

    /// Adds the gradients of replicas to this session's.
    private func addGradients(of replicas: [Session], zeroFirst: Bool) throws {
        guard !replicas.isEmpty else { return }
        if zeroFirst { try backend.clearGradients() }
        let sum = model.adapters.floats(.gradients)
        let terms = replicas.map { $0.model.adapters.floats(.gradients) }
        model.cpu.parallelRanges(over: sum.count, grain: 1024) { range, _ in
            for index in range { sum[index] = terms.reduce(sum[index]) { $0 + $1[index] } }
        }
    }
}

extension SessionSizes {
    /// Those of a replica's session, which trains alone.
    var ofReplica: SessionSizes {
        let rows = min(training, replicas.rows)
        return SessionSizes(training: rows, evaluation: 1, headChunk: min(headChunk, Session.roundedUp(rows)))
    }
    /// Whether some micro-batches are computed on all threads.
    var trainsAlone: Bool { training > 0 && (replicas.count == 1 || training > replicas.rows) }
}
