import Glibc

/// A time of day of this machine's time zone, in minutes: `18:30`.
package struct TimeOfDay: Sendable, Equatable, CustomStringConvertible {
    package let hour: Int
    package let minute: Int

    /// - Parameter text: `H:MM` or `HH:MM` on a clock of 24 hours; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, (1...2).contains(parts[0].utf8.count), parts[1].utf8.count == 2,
            parts.allSatisfy({ $0.utf8.allSatisfy { 0x30...0x39 ~= $0 } }), let hour = Int(parts[0]), let minute = Int(parts[1]), hour < 24, minute < 60
        else { return nil }
        (self.hour, self.minute) = (hour, minute)
    }

    /// The time of day of a moment, its seconds cut off.
    ///
    /// - Parameter seconds: since 1970.
    package init(of seconds: Double) {
        let time = Self.local(seconds)
        (hour, minute) = (Int(time.tm_hour), Int(time.tm_min))
    }

    package var description: String { "\(hour.zeroPadded(to: 2)):\(minute.zeroPadded(to: 2))" }

    /// The first moment after `now` at which a clock on the wall shows this time. On a day on which clocks are put forward over it, the moment that it names
    /// on the clock as it was before.
    ///
    /// - Parameter now: seconds since 1970.
    /// - Returns: seconds since 1970, more than `now` and at most about 25 hours later.
    package func next(after now: Double) -> Double {
        let today = Self.local(now)
        for day in 0...2 {
            var time = tm()
            (time.tm_year, time.tm_mon, time.tm_mday) = (today.tm_year, today.tm_mon, today.tm_mday + Int32(day))
            (time.tm_hour, time.tm_min, time.tm_isdst) = (Int32(hour), Int32(minute), -1)
            let moment = Double(mktime(&time))
            if moment > now { return moment }
        }
        return now + 86_400
    }

    private static func local(_ seconds: Double) -> tm {
        var (moment, time) = (time_t(min(max(0, seconds), 2.5e11)), tm())
        // `localtime_r` need not read the time zone of the environment; `tzset` does.
        tzset()
        localtime_r(&moment, &time)
        return time
    }
}
