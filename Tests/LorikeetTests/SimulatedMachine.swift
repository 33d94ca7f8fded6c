import LorikeetGround
import LorikeetReporting
import SimulatedTraining
import Synchronization

/// A machine on which time passes by a run's work alone, at speeds that change: hours of a whole run pass in a second.
///
/// A run asks between any two operations of a model, and between any two tensors that it writes, whether it is to stop: each such question takes a part of its
/// numbered step's time. Each byte that is written takes time of the disk, and what a numbered step begins with is told by its event.
final class SimulatedMachine: Clock, EventSink, Sendable {
    /// A speed that changes at some times; 1, from the beginning on, is what was planned.
    struct Speed: Sendable {
        /// By time, ascending.
        var changes: [(at: Double, speed: Double)] = []

        func at(_ time: Double) -> Double { changes.last { $0.at <= time }?.speed ?? 1 }

        /// The time when work is done that takes `seconds` at speed 1.
        func end(of seconds: Double, from start: Double) -> Double {
            var (now, left) = (start, seconds)
            for change in changes where change.at > start {
                let speed = at(now)
                guard (change.at - now) * speed < left else { break }
                left -= (change.at - now) * speed
                now = change.at
            }
            return now + left / at(now)
        }
    }

    /// Seconds of work at speed 1, by numbered step.
    struct Work: Sendable {
        /// Before anything else in it.
        var beginning: [String: Double] = [:]
        /// For each question whether to stop.
        var question: [String: Double] = [:]
        /// For each byte that is written.
        var byte: [String: Double] = [:]
    }

    /// What a numbered step asked and wrote.
    struct Count: Sendable {
        var questions = 0
        var bytes = 0
    }

    private struct State {
        var uptime: Double
        var step = ""
        var counts: [String: Count] = [:]
        var steps: [(end: Double, seconds: Double)] = []
        var checkpoints: [Checkpoint] = []
        /// Bytes that were written since the last event, and their seconds.
        var written = (bytes: 0, seconds: 0.0)
    }

    struct Checkpoint: Sendable {
        /// When it was whole.
        let end: Double
        let bytes: Int
        /// Seconds of writing it.
        let seconds: Double
    }

    let began: Double
    private let state: Mutex<State>
    private let work: Work
    let computing: Speed
    let disk: Speed
    /// When a signal comes that asks the run to stop.
    private let signal: Double
    /// When the clock on the wall jumps, and by how many seconds.
    private let jump: (at: Double, by: Double)

    init(
        _ work: Work, began: Double = 1000, computing: Speed = Speed(), disk: Speed = Speed(), signal: Double = .infinity,
        jump: (at: Double, by: Double) = (.infinity, 0)
    ) {
        (self.work, self.began, self.computing, self.disk, self.signal, self.jump) = (work, began, computing, disk, signal, jump)
        state = Mutex(State(uptime: began))
    }

    var uptime: Double { state.withLock { $0.uptime } }
    var now: Double { Self.wall(uptime) + (uptime >= jump.at ? jump.by : 0) }
    static func wall(_ uptime: Double) -> Double { 1.8e9 + uptime }

    var counts: [String: Count] { state.withLock { $0.counts } }
    /// When each training step ended, and its seconds.
    var steps: [(end: Double, seconds: Double)] { state.withLock { $0.steps } }
    var checkpoints: [Checkpoint] { state.withLock { $0.checkpoints } }

    /// Whether the run is to stop. The question takes time.
    func isAsked() -> Bool {
        state.withLock { state in
            state.counts[state.step, default: Count()].questions += 1
            state.uptime = computing.end(of: work.question[state.step] ?? 0, from: state.uptime)
            return state.uptime >= signal
        }
    }

    func write(_ bytes: Int) {
        state.withLock { state in
            state.counts[state.step, default: Count()].bytes += bytes
            let begun = state.uptime
            state.uptime = disk.end(of: Double(bytes) * (work.byte[state.step] ?? 0), from: begun)
            state.written = (state.written.bytes + bytes, state.written.seconds + state.uptime - begun)
        }
    }

    func receive(_ event: Event) {
        state.withLock { state in
            switch event.kind {
            case .phase:
                state.step = event.fields["name"]?.string ?? ""
                state.uptime = (state.step == "model loading" ? disk : computing).end(of: work.beginning[state.step] ?? 0, from: state.uptime)
            case .step: state.steps.append((state.uptime, event.fields["seconds"]?.double ?? 0))
            case .checkpoint: state.checkpoints.append(Checkpoint(end: state.uptime, bytes: state.written.bytes, seconds: state.written.seconds))
            default: break
            }
            state.written = (0, 0)
        }
    }
}

/// The real disk, whose writes take a simulated machine's time.
struct SimulatedDisk: Files {
    private let real = UnsyncedFiles()
    let machine: SimulatedMachine

    func read(_ path: String) throws -> [UInt8] { try real.read(path) }
    func map(_ path: String) throws -> MappedFile { try real.map(path) }
    func byteCount(of path: String) throws -> Int { try real.byteCount(of: path) }
    func exists(_ path: String) -> Bool { real.exists(path) }
    func isLink(_ path: String) -> Bool { real.isLink(path) }
    func isDirectory(_ path: String) -> Bool { real.isDirectory(path) }
    func list(_ directory: String) throws -> [String] { try real.list(directory) }
    func freeBytes(at path: String) throws -> Int64 { try real.freeBytes(at: path) }
    func createDirectory(_ path: String) throws { try real.createDirectory(path) }
    func remove(_ path: String) throws { try real.remove(path) }
    func rename(_ from: String, to: String) throws { try real.rename(from, to: to) }
    func createLink(_ path: String, to target: String) throws -> Bool { try real.createLink(path, to: target) }
    func create(_ path: String) throws -> any FileWriter { Writer(machine: machine, real: try real.create(path)) }
    func openAppending(_ path: String) throws -> any FileWriter { Writer(machine: machine, real: try real.openAppending(path)) }

    private final class Writer: FileWriter {
        let machine: SimulatedMachine
        let real: any FileWriter

        init(machine: SimulatedMachine, real: any FileWriter) { (self.machine, self.real) = (machine, real) }

        func write(_ bytes: UnsafeRawBufferPointer) throws {
            machine.write(bytes.count)
            try real.write(bytes)
        }
        func sync() throws { try real.sync() }
        func close() throws { try real.close() }
    }
}
