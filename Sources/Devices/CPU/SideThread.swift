import Glibc
import LorikeetGround

/// A thread beside the calling one, for as long as one piece of work takes: it waits for a disk while the processor computes.
package enum SideThread {
    /// Runs both bodies at the same time, `body` on the calling thread and `side` on one of its own. Returns when both have ended: what one of them
    /// waits for, the other has to bring about in any case.
    ///
    /// - Throws: exit 4 where the system gives no thread; neither body is called then.
    package static func run(_ side: () -> Void, meanwhile body: () -> Void) throws {
        try withoutActuallyEscaping(side) { side in
            var job = side
            try withUnsafeMutablePointer(to: &job) { pointer in
                var thread = pthread_t()
                let status = pthread_create(
                    &thread, nil,
                    { context in
                        context?.assumingMemoryBound(to: (() -> Void).self).pointee()
                        return nil
                    }, pointer)
                guard status == 0 else {
                    throw LorikeetError.machine(
                        "a thread cannot be started: \(String(cString: strerror(status)))", fix: "raise the limit of processes and threads (ulimit -u)")
                }
                body()
                pthread_join(thread, nil)
            }
        }
    }
}
