/// The stream of copies between a card and pinned memory that run beside the card's other work.
///
/// Each copy begins after what the other stream was asked for before, and that stream is told when to wait for it: events order the two.
/// Where the other stream's work is being recorded, the events bring the copies into the recording.
final class CopyStream {
    private let context: CardContext
    private let stream: CardHandle
    /// Marks the other stream's work that a copy waits for.
    private let start: CardHandle
    /// By number, the end of a copy.
    private var ends: [Int: CardHandle] = [:]

    /// - Parameter context: is current, as in every call.
    init(_ context: CardContext) throws {
        let driver = context.driver
        self.context = context
        stream = try CardHandle(in: context, release: driver.streamDestroy) {
            try driver.made("cuStreamCreateWithPriority") { driver.streamCreate($0, 1, 0) }
        }
        start = try context.event(flags: 2)
    }

    /// See `Accelerator.beginCopy`.
    func begin(_ from: UInt64, to: UInt64, bytes: Int, number: Int, beside other: CardHandle) throws {
        let driver = context.driver
        let end = try ends[number] ?? context.event(flags: 2)
        ends[number] = end
        try driver.check(driver.eventRecord(start.handle, other.handle), "cuEventRecord")
        try driver.check(driver.streamWait(stream.handle, start.handle, 0), "cuStreamWaitEvent")
        try driver.check(driver.copyAnywhere(to, from, bytes, stream.handle), "cuMemcpyAsync")
        try driver.check(driver.eventRecord(end.handle, stream.handle), "cuEventRecord")
    }

    /// See `Accelerator.awaitCopy`; a number that no copy has waits for nothing.
    func await(number: Int, before other: CardHandle) throws {
        guard let end = ends[number] else { return }
        try context.driver.check(context.driver.streamWait(other.handle, end.handle, 0), "cuStreamWaitEvent")
    }

    /// Waits for all copies, whether or not they succeed.
    func synchronize() { _ = context.driver.streamSynchronize(stream.handle) }
}
