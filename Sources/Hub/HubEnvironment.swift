import Glibc
import LorikeetGround

/// What happens while files are fetched or uploaded.
package enum HubEvent: Sendable, Equatable {
    /// The files that are missing, and their bytes.
    case fetching(name: String, files: Int, bytes: Int64)
    /// The headers of weights are read that stay on the hub.
    case headers(name: String, files: Int)
    /// A piece has come or gone: bytes of this file and of all files, with those that were there already.
    case progress(file: String, done: Int64, of: Int64?, allDone: Int64, all: Int64)
    /// A partial file of an earlier attempt is gone on with.
    case resumed(file: String, at: Int64)
    case fetched(file: String, bytes: Int64)
    /// The files that are uploaded, and their bytes.
    case pushing(name: String, files: Int, bytes: Int64)
    /// A large file is read for the name of its content.
    case hashing(file: String, bytes: Int64)
    case sent(file: String, bytes: Int64)
    /// The hub has a large file's content already.
    case present(file: String, bytes: Int64)
    /// A request is made again after a pause.
    case waiting(what: String, why: String, seconds: Double)
    /// Another process fetches this file.
    case locked(file: String)
    case warning(String)
}

/// The client's connections to the outside, which tests replace.
package struct HubEnvironment {
    package var files: any Files
    package var clock: any Clock
    /// Waits for a number of seconds.
    package var sleep: (Double) -> Void
    /// Called throughout a transfer: true ends it, and keeps what has come or gone.
    package var shouldStop: () -> Bool
    package var report: (HubEvent) -> Void
    package var policy = RetryPolicy()
    /// Seconds within which a connection has to be made, and seconds without data after which it counts as broken.
    package var connectSeconds = 15
    package var stalledSeconds = 60
    /// Seconds within which a hub has to answer for the first time. A hub that takes the connection and says nothing is not asked again.
    package var answerSeconds = 30
    /// File names of libcurl.
    package var libraries = HTTPSession.libraries

    package init(
        files: any Files = RealFiles(), clock: any Clock = SystemClock(), sleep: @escaping (Double) -> Void = { usleep(UInt32($0 * 1e6)) },
        shouldStop: @escaping () -> Bool = { false }, report: @escaping (HubEvent) -> Void = { _ in }
    ) {
        (self.files, self.clock, self.sleep, self.shouldStop, self.report) = (files, clock, sleep, shouldStop, report)
    }
}
