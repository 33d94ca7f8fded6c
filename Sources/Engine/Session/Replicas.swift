import LorikeetDevices
import LorikeetGround

/// How many micro-batches of a step the processor computes at once, each by a replica: a session with threads, an arena and gradients of its own, which
/// shares the frozen weights and the trained parameters.
///
/// Many threads do one micro-batch badly: every op waits for the slowest of them, and each has too little of a product. Replicas wait for one another
/// once a step. docs/decisions/0020-replicas.md has the measurements behind the numbers here.
package struct Replicas: Sendable, Hashable {
    /// 1 computes one micro-batch after the other, on all threads.
    package let count: Int
    /// Rows that a micro-batch may have. One that holds a single longer sample has more; the first replica computes those.
    package let rows: Int

    /// Rows of a micro-batch of a single replica: enough for a product's full rate, few enough for the processor's caches and memory.
    private static let rowsAlone = 1024
    /// Rows that all of several replicas compute at once, and the fewest of each.
    private static let rowsTogether = 2048, leastRows = 256
    /// Threads of a replica, and samples of a step that there have to be for each, so that their micro-batches are of about one size.
    private static let threadsEach = 4, samplesEach = 2

    /// One micro-batch after the other.
    package static let one = Self(count: 1, rows: rowsAlone)

    package init(count: Int, rows: Int) { (self.count, self.rows) = (max(1, count), max(1, rows)) }

    /// Those of a training on so many threads.
    package init(threads: Int, samplesPerStep: Int) {
        count = max(1, min(threads / Self.threadsEach, samplesPerStep / Self.samplesEach))
        rows = min(Self.rowsAlone, max(Self.leastRows, Self.rowsTogether / count))
    }

    /// Threads of a replica.
    ///
    /// - Parameter all: of all replicas.
    func threads(of replica: Int, all: Int) -> Int { max(1, all * (replica + 1) / count - all * replica / count) }

    /// Rows of the largest micro-batch of a replica.
    ///
    /// - Parameter largest: rows of the largest of all.
    func rows(of replica: Int, largest: Int) -> Int { replica == 0 ? largest : min(largest, rows) }

    /// Which micro-batches each replica computes: a larger one before a smaller one, each where the fewest rows are so far.
    ///
    /// - Parameter sizes: rows of the micro-batches.
    /// - Returns: indices into `sizes`, by replica.
    package func shares(_ sizes: [Int]) -> [[Int]] {
        var (shares, rows) = ([[Int]](repeating: [], count: count), [Int](repeating: 0, count: count))
        for index in sizes.indices.sorted(by: { (sizes[$1], $0) < (sizes[$0], $1) }) {
            let least = rows.indices.min { (rows[$0], $0) < (rows[$1], $1) } ?? 0
            let replica = sizes[index] > self.rows ? 0 : least
            shares[replica].append(index)
            rows[replica] += sizes[index]
        }
        return shares
    }
}

extension Session {
    /// A session for each replica of `sizes.replicas`; none for a single one, and none on a card.
    ///
    /// - Throws: exit 4 when memory cannot be had.
    static func replicas(of model: Model, _ sizes: SessionSizes, _ passes: PassPolicy) throws -> [Session] {
        let replicas = sizes.replicas
        guard replicas.count > 1, model.placed == nil, sizes.training > 0 else { return [] }
        return try (0..<replicas.count).map { replica in
            let model = try Model(replicaOf: model, threads: replicas.threads(of: replica, all: model.cpu.threads))
            return try Session(model: model, sizes: sizes.ofReplica(replica), passes: passes)
        }
    }

    /// Forward and backward passes of all micro-batches of a step, on all replicas at once: sets `model.adapters.gradients` to the gradient of
    /// sum(weight * -log p) over all of them.
    ///
    /// The gradients of a replica's micro-batches are added up one after the other, and the replicas' sums in the replicas' order: the same bits for the same
    /// batches and threads.
    ///
    /// - Returns: the results of the micro-batches.
    /// - Throws: as `accumulate`.
    package func accumulate(atOnce batches: [TokenBatch]) throws -> [MicroBatchResult] {
        guard !replicas.isEmpty else { return try batches.enumerated().map { try accumulate($1, zeroFirst: $0 == 0) } }
        let shares = sizes.replicas.shares(batches.map(\.rows))
        var outcomes = [Result<MicroBatchResult, any Error>?](repeating: nil, count: batches.count)
        outcomes.withUnsafeMutableBufferPointer { outcomes in
            model.cpu.parallel(over: replicas.count) { number in
                for (place, index) in shares[number].enumerated() {
                    let outcome = Result { try replicas[number].accumulate(batches[index], zeroFirst: place == 0) }
                    outcomes[index] = outcome
                    guard case .success = outcome else { return }
                }
            }
        }
        let failure = outcomes.lazy.compactMap { if case .failure(let error) = $0 { error } else { nil } }.first
        if let failure { throw failure }
        addGradients(of: zip(replicas, shares).filter { !$1.isEmpty }.map(\.0))
        return try outcomes.compactMap { try $0?.get() }
    }

    /// Sets the gradients to the sum of those of the replicas.
    private func addGradients(of replicas: [Session]) {
        let sum = model.adapters.floats(.gradients)
        let terms = replicas.map { $0.model.adapters.floats(.gradients) }
        model.cpu.parallelRanges(over: sum.count, grain: 1024) { range, _ in
            for index in range { sum[index] = terms.reduce(0) { $0 + $1[index] } }
        }
    }
}

extension SessionSizes {
    /// Those of a replica's session, which trains alone.
    func ofReplica(_ replica: Int) -> SessionSizes {
        let rows = replicas.rows(of: replica, largest: training)
        return SessionSizes(training: rows, evaluation: 1, headChunk: min(headChunk, Session.roundedUp(rows)))
    }
}
