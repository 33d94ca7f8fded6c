import Glibc
import LorikeetGround

/// What the machine's processors have done until a moment, for all processes and for this one. Two readings say how busy others kept them between.
package struct ProcessorUse: Sendable, Equatable {
    /// Seconds of all processors together since the machine started, and those of them in which they worked (or in which a hypervisor gave them to others).
    package var total: Double
    package var busy: Double
    /// Seconds that this process's threads worked.
    package var own: Double

    package init(total: Double, busy: Double, own: Double) { (self.total, self.busy, self.own) = (total, busy, own) }

    /// Zeros where the system does not say.
    package static func now() -> ProcessorUse {
        let (busy, total) = Machine.cpuTimes()
        let ticks = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        return ProcessorUse(total: total / ticks, busy: busy / ticks, own: Machine.processSeconds())
    }

    /// A shorter time (seconds) says nothing: the kernel counts hundredths.
    private static let leastSeconds = 0.1
    /// No answer is larger.
    private static let mostSlowdown = 8.0

    /// Between `earlier` and this reading: the seconds that passed, the processors that others kept busy (a mean), and whether all were busy; nil where
    /// too little time has passed to say.
    private func others(since earlier: ProcessorUse, processors: Int) -> (seconds: Double, processors: Double, isFull: Bool)? {
        let (all, worked) = (total - earlier.total, busy - earlier.busy)
        let seconds = all / Double(max(1, processors))
        guard seconds >= Self.leastSeconds else { return nil }
        return (seconds, min(max(0, worked - (own - earlier.own)), all) / seconds, worked > 0.95 * all)
    }

    /// By which factor work of `threads` threads took longer between `earlier` and this reading than it would have on processors of its own, where what other
    /// processes did not use was left for it:
    ///
    ///     min(threads, processors) / (processors - others), with others as the number of processors that they kept busy (a mean)
    ///
    /// - Parameter processors: of the machine.
    /// - Returns: 1 to 8; 1 where it is not known.
    package func slowdown(of threads: Int, since earlier: ProcessorUse, processors: Int = Machine.allProcessors()) -> Double {
        guard let others = others(since: earlier, processors: processors) else { return 1 }
        let left = Double(processors) - others.processors
        return left > 0 ? min(Self.mostSlowdown, max(1, Double(min(threads, processors)) / left)) : Self.mostSlowdown
    }

    /// By which factor work of `threads` threads that begins now is expected to take longer than on processors of its own, if other processes go on as they did
    /// since `earlier` and all threads that want a processor get equal shares:
    ///
    ///     (min(threads, processors) + others) / processors, at least 1 and at most 8
    ///
    /// `others` is a number of threads. It is the number of processors that other processes kept busy between the readings: their processor seconds divided by
    /// the seconds that passed. Where the processors were busy for more than 95 % of the time and others had half of them, less a tenth of one, or more, how many
    /// threads wait does not show in what they get. There `others` is `demand`, if that is larger.
    ///
    /// - Parameters:
    ///   - demand: other processes' threads that want a processor, as the share that threads of this process got just now tells it.
    ///   - processors: of the machine.
    /// - Returns: 1 where less than a tenth of a second lies between the readings.
    package func expectedSlowdown(
        of threads: Int, since earlier: ProcessorUse, demand: Double, processors: Int = Machine.allProcessors()
    ) -> Double {
        guard let others = others(since: earlier, processors: processors) else { return 1 }
        let isCrowded = others.isFull && others.processors > Double(processors) / 2 - 0.1
        let load = isCrowded ? max(others.processors, demand) : others.processors
        return min(Self.mostSlowdown, max(1, (Double(min(threads, processors)) + load) / Double(processors)))
    }
}

extension Machine {
    /// Seconds of processors that this process's threads, and the calling thread alone, have worked.
    package static func processSeconds() -> Double { SystemClock.read(CLOCK_PROCESS_CPUTIME_ID) }
    package static func threadSeconds() -> Double { SystemClock.read(CLOCK_THREAD_CPUTIME_ID) }

    /// The machine's processors, also those that this process may not use.
    package static func allProcessors() -> Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
