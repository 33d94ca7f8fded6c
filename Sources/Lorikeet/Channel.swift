import Dispatch
import Synchronization

/// Elements on their way from a thread that works to the tasks that listen, and the work's outcome. The listeners can ask the work to stop.
final class Channel<Element: Sendable, Outcome: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        /// Elements at the front that have been taken.
        var taken = 0
        var outcome: Result<Outcome, LorikeetFailure>?
        var takers: [CheckedContinuation<Result<Element?, LorikeetFailure>, Never>] = []
        var waiters: [CheckedContinuation<Result<Outcome, LorikeetFailure>, Never>] = []

        mutating func take() -> Element? {
            guard taken < elements.count else { return nil }
            defer {
                taken += 1
                // In pieces, so that the memory of what was taken is given back at a constant cost for each element.
                if taken == elements.count || taken >= 256 {
                    elements.removeFirst(taken)
                    taken = 0
                }
            }
            return elements[taken]
        }
    }

    private let state = Mutex(State())
    private let stop: StopFlag
    /// Signalled where an element was taken.
    private let isTaken = DispatchSemaphore(value: 0)

    init(stop: StopFlag = StopFlag()) { self.stop = stop }

    // MARK: the thread that works

    var isStopped: Bool { stop.isSet }

    /// Elements that wait to be taken.
    var pending: Int { state.withLock { $0.elements.count - $0.taken } }

    func send(_ element: Element) {
        let taker = state.withLock { state -> CheckedContinuation<Result<Element?, LorikeetFailure>, Never>? in
            guard state.takers.isEmpty else { return state.takers.removeFirst() }
            state.elements.append(element)
            return nil
        }
        taker?.resume(returning: .success(element))
    }

    /// Blocks the calling thread while more than `ahead` elements wait to be taken, unless the work is to stop or somebody else wants the thread.
    func waitForRoom(_ ahead: Int, unless isWanted: () -> Bool) {
        while !isStopped, !isWanted(), pending > ahead {
            _ = isTaken.wait(timeout: .now() + .milliseconds(10))
        }
    }

    /// Nothing is sent after this.
    func finish(_ outcome: Result<Outcome, LorikeetFailure>) {
        let (takers, waiters) = state.withLock { state in
            defer { (state.takers, state.waiters) = ([], []) }
            state.outcome = outcome
            return (state.takers, state.waiters)
        }
        for taker in takers { taker.resume(returning: outcome.map { _ in nil }) }
        for waiter in waiters { waiter.resume(returning: outcome) }
    }

    // MARK: the listeners

    /// Asks the work to stop; its outcome says how far it came.
    func requestStop() { stop.set() }

    /// The next element; nil at the end. A cancelled task asks the work to stop, and goes on waiting for what it still sends.
    func next() async throws(LorikeetFailure) -> Element? {
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (taker: CheckedContinuation<Result<Element?, LorikeetFailure>, Never>) in
                let now = state.withLock { state -> Result<Element?, LorikeetFailure>? in
                    if let element = state.take() { return .success(element) }
                    if let outcome = state.outcome { return outcome.map { _ in nil } }
                    state.takers.append(taker)
                    return nil
                }
                isTaken.signal()
                if let now { taker.resume(returning: now) }
            }
        } onCancel: {
            requestStop()
        }
        return try result.get()
    }

    /// Waits for the work's end. A cancelled task asks the work to stop.
    func outcome() async throws(LorikeetFailure) -> Outcome {
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (waiter: CheckedContinuation<Result<Outcome, LorikeetFailure>, Never>) in
                let now = state.withLock { state -> Result<Outcome, LorikeetFailure>? in
                    if state.outcome == nil { state.waiters.append(waiter) }
                    return state.outcome
                }
                if let now { waiter.resume(returning: now) }
            }
        } onCancel: {
            requestStop()
        }
        return try result.get()
    }
}

/// A listener's hold on a channel: work that nobody holds any more is asked to stop.
final class Listening<Element: Sendable, Outcome: Sendable>: Sendable {
    let channel: Channel<Element, Outcome>
    init(_ channel: Channel<Element, Outcome>) { self.channel = channel }
    deinit { channel.requestStop() }
}
