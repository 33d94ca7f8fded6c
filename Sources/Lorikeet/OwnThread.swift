import Dispatch
import LorikeetGround
import Synchronization

/// Work that computes or waits for files and hubs must not occupy Swift's cooperative threads: there are as many of them as processors, and all tasks of
/// the program share them. It runs on threads that Dispatch makes for serial queues.
enum OwnThread {
    /// Whether the calling task was cancelled.
    typealias IsCancelled = @Sendable () -> Bool

    /// Runs `body` on a thread of its own.
    ///
    /// - Parameters:
    ///   - queue: whose thread that is; without it a new one's.
    ///   - body: gets a function that says whether the calling task was cancelled.
    static func run<Value>(
        on queue: DispatchQueue = DispatchQueue(label: "lorikeet"), _ body: @escaping @Sendable (@escaping IsCancelled) throws -> sending Value
    ) async throws(LorikeetFailure) -> sending Value {
        let stop = StopFlag()
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (made: CheckedContinuation<Result<Value, LorikeetFailure>, Never>) in
                queue.async { made.resume(returning: LorikeetFailure.result { try body { stop.isSet } }) }
            }
        } onCancel: {
            stop.set()
        }
        switch result {
        case .success(let value): return value
        case .failure(let failure): throw failure
        }
    }

    /// Starts `body` on a thread of its own.
    static func start(_ body: @escaping @Sendable () -> Void) { DispatchQueue(label: "lorikeet").async(execute: body) }
}

/// Runs an actor's jobs one after the other on a thread outside of Swift's cooperative pool.
final class ThreadExecutor: SerialExecutor {
    private let queue = DispatchQueue(label: "lorikeet.generator")
    private let waiting = Atomic<Int>(0)

    /// Whether a job waits for the one that runs.
    var isAwaited: Bool { waiting.load(ordering: .relaxed) > 0 }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        waiting.add(1, ordering: .relaxed)
        queue.async { [self] in
            waiting.subtract(1, ordering: .relaxed)
            job.runSynchronously(on: asUnownedSerialExecutor())
        }
    }

    /// Makes a value on the executor's thread.
    ///
    /// - Parameter body: gets a function that says whether the calling task was cancelled.
    func make<Value>(
        _ body: @escaping @Sendable (@escaping OwnThread.IsCancelled) throws -> sending Value
    ) async throws(LorikeetFailure) -> sending Value {
        try await OwnThread.run(on: queue, body)
    }
}

/// Set once, from any thread.
final class StopFlag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

/// Turns a task's cancellation into an error, between the parts of work that do not ask `CPU.interruption`.
struct CancellationCheck {
    let isCancelled: @Sendable () -> Bool

    /// - Throws: exit 75 once the task was cancelled.
    func callAsFunction() throws {
        if isCancelled() { throw Self.cancelled }
    }

    static let cancelled = LorikeetError(.stoppedEarly, "cancelled before its end", fix: "call it again")
}
