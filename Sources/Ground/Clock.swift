import Glibc

/// Time, passed in so that tests can set it.
package protocol Clock: Sendable {
    /// Seconds since 1970.
    var now: Double { get }
    /// Seconds on a clock that never jumps.
    var uptime: Double { get }
}

package struct SystemClock: Clock {
    package init() {}

    package var now: Double { Self.read(CLOCK_REALTIME) }
    package var uptime: Double { Self.read(CLOCK_MONOTONIC) }

    /// Seconds on one of the system's clocks.
    package static func read(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
