import LorikeetDevices
import LorikeetGround
import Synchronization
import Testing

@testable import LorikeetEngine

/// Micro-batches of a step that several sessions compute at once.
struct ReplicaTests {
    @Test(
        arguments: [
            // Too few threads, or too few samples in a step.
            (1, 16, 1, 1024), (2, 16, 1, 1024), (4, 16, 1, 1024), (7, 16, 1, 1024), (64, 3, 1, 1024), (16, 1, 1, 1024),
            // At most 2,048 rows together and 1,024 each, and at most eight.
            (8, 16, 2, 1024), (12, 16, 3, 682), (16, 16, 4, 512), (16, 8, 4, 512), (16, 5, 2, 1024), (64, 64, 8, 256),
        ])
    func `their number follows from threads and samples`(threads: Int, samples: Int, count: Int, rows: Int) {
        #expect(Replicas(threads: threads, samplesPerStep: samples) == Replicas(count: count, rows: rows))
    }

    @Test(arguments: [(2, 8), (2, 9), (3, 13), (4, 16), (4, 2)]) func `all threads are given away, and none gets none`(count: Int, all: Int) {
        let threads = (0..<count).map { Replicas(count: count, rows: 1).threads(of: $0, all: all) }
        #expect(threads.allSatisfy { $0 >= 1 } && threads.reduce(0, +) == max(all, count))
    }

    @Test func `shares are even, and what has more rows than a replica may have is computed on all threads`() {
        let sizes = [100, 700, 90, 80, 600, 30, 20]
        let dealt = Replicas(count: 3, rows: 512).deal(sizes)
        #expect(dealt.alone == [1, 4] && dealt.shares == [[0], [2, 6], [3, 5]])
        let empty = Replicas(count: 3, rows: 512).deal([])
        #expect(empty.alone.isEmpty && empty.shares == [[], [], []])
        let one = Replicas.one.deal(sizes)
        #expect(one.alone == Array(sizes.indices) && one.shares.isEmpty)
    }

    @Test func `rows of replicas count four fifths of those on all threads, by the longest share`() {
        #expect(Replicas.one.work([10, 2000]) == 5 * 2010)
        #expect(Replicas(count: 2, rows: 15).work([10, 20, 12]) == 5 * 20 + 2 * 12 * 4)
        #expect(Replicas(count: 2, rows: 15).work([]) == 0)
    }

    private static func batches() -> [TokenBatch] {
        [[12, 9, 30], [40], [3, 17], [22, 8], [31]].enumerated().map { number, lengths in
            TinyModel.pack(lengths.enumerated().map { TinyModel.tokens($1, seed: UInt64(10 * number + $0)) }, weight: 0.01 * Float(number + 1))
        }
    }

    private static func session(_ model: Model, _ replicas: Replicas) throws -> Session {
        try Session(model: model, sizes: SessionSizes(training: 64, evaluation: 32, replicas: replicas))
    }

    @Test(arguments: [2, 3, 4, 7]) func `their gradient is that of one micro-batch after the other, before and behind an update`(count: Int) throws {
        let (alone, together) = (try TinyModel.model(threads: 2), try TinyModel.model(threads: 8))
        let (one, all) = (try Self.session(alone, .one), try Self.session(together, Replicas(count: count, rows: 40)))
        #expect(one.replicas.isEmpty && all.replicas.count == count)
        for _ in 0..<2 {
            let expected = try one.accumulate(atOnce: Self.batches())
            let found = try all.accumulate(atOnce: Self.batches())
            #expect(expected.count == 5 && found.count == 5)
            for (a, b) in zip(expected, found) {
                #expect(abs(a.lossSum - b.lossSum) < 1e-5 * abs(a.lossSum))
                #expect(zip(a.logProbabilities, b.logProbabilities).allSatisfy { abs($0 - $1) < 1e-4 } && a.logProbabilities.count == b.logProbabilities.count)
            }
            let (a, b) = (alone.adapters.floats(.gradients), together.adapters.floats(.gradients))
            let largest = a.map(abs).max() ?? 0
            #expect(largest > 0 && zip(a, b).allSatisfy { abs($0 - $1) < 1e-4 * largest })
            // The replicas see the parameters that the update changes.
            for session in [one, all] { _ = try session.optimiserStep(learningRate: 0.01, optimiser: AdamWSettings()) }
        }
    }

    @Test func `their gradient has the same bits every time, and holds nothing of the step before`() throws {
        let model = try TinyModel.model(threads: 8)
        let session = try Self.session(model, Replicas(count: 3, rows: 40))
        _ = try session.accumulate(atOnce: Self.batches())
        let first = Array(model.adapters.floats(.gradients))
        // A step with fewer micro-batches than replicas.
        _ = try session.accumulate(atOnce: Array(Self.batches().prefix(1)))
        let few = Array(model.adapters.floats(.gradients))
        for _ in 0..<5 {
            _ = try session.accumulate(atOnce: Self.batches())
            #expect(Array(model.adapters.floats(.gradients)) == first)
        }
        _ = try session.accumulate(atOnce: Array(Self.batches().prefix(1)))
        #expect(Array(model.adapters.floats(.gradients)) == few && few != first)
    }

    @Test(arguments: [0, 3, 40, 100]) func `their work can be interrupted, and done again with the same bits`(asks: Int) throws {
        let model = try TinyModel.model(threads: 8)
        let session = try Self.session(model, Replicas(count: 2, rows: 40))
        _ = try session.accumulate(atOnce: Self.batches())
        let calm = Array(model.adapters.floats(.gradients))
        let asked = Atomic<Int>(0)
        session.interruption = { asked.add(1, ordering: .relaxed).oldValue >= asks }
        #expect(throws: Interrupted.self) { try session.accumulate(atOnce: Self.batches()) }
        session.interruption = nil
        #expect(try session.accumulate(atOnce: Self.batches()).count == 5)
        #expect(Array(model.adapters.floats(.gradients)) == calm)
    }

    @Test func `a token that does not exist is refused by any of them`() throws {
        let session = try Self.session(try TinyModel.model(threads: 8), Replicas(count: 2, rows: 40))
        var batches = Self.batches()
        batches[3].append([99], weight: 1, dropoutKeys: [0])
        #expect(throws: LorikeetError.self) { try session.accumulate(atOnce: batches) }
        // Also where another one is interrupted.
        let asked = Atomic<Int>(0)
        session.interruption = { asked.add(1, ordering: .relaxed).oldValue >= 4 }
        #expect(throws: LorikeetError.self) { try session.accumulate(atOnce: [batches[3], batches[2]]) }
    }

    @Test(arguments: [(2, 96), (3, 96), (4, 40)]) func `they divide the arena that a plan has`(count: Int, largest: Int) throws {
        let model = try TinyModel.model(threads: 8)
        let sizes = SessionSizes(training: largest, evaluation: 32, replicas: Replicas(count: count, rows: 40))
        let session = try Session(model: model, sizes: sizes)
        let lora = LoRASettings(r: 3, alpha: 6, targetModules: ["q_proj", "v_proj"])
        let plan = try Session.plan(model.configuration, ProgramRequest(storage: .f32, lora: lora, sizes: sizes, target: .cpu(threads: 8))) { _ in nil }
        let parts = session.replicas.map { $0.program(.training, tokens: 64).arenaBytes }
        let alone = largest > 40 ? session.program(.training, tokens: largest).arenaBytes : 0
        #expect(plan.arenaBytes == max(alone, parts.reduce(0, +), plan.evaluation.arenaBytes, plan.step.arenaBytes))
        #expect(plan.replicaGradientBytes == count * 4 * model.adapters.elementCount)
        _ = try session.accumulate(atOnce: Self.batches().filter { $0.rows <= largest })
        let whole = try #require((session.backend as? CPUBackend)?.arena)
        #expect(whole.byteCount <= plan.arenaBytes)
        var end = whole.base
        for (replica, bytes) in zip(session.replicas, parts) {
            let part = try #require((replica.backend as? CPUBackend)?.arena)
            #expect(part.base >= end && part.byteCount == bytes)
            end = part.base + bytes
        }
        #expect(end <= whole.base + whole.byteCount)
    }
}
