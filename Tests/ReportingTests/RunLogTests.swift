import LorikeetJSON
import Testing

@testable import LorikeetReporting

struct RunLogTests {
    static func log(_ lines: [String]) -> RunLog {
        Array(lines.joined(separator: "\n").utf8).withUnsafeBytes { RunLog(lines: $0) }
    }

    static func step(_ step: Int, loss: String = "1.5", time: Double = 100) -> String {
        #"{"event":"step","time":\#(time),"step":\#(step),"of":9,"loss":\#(loss),"learning_rate":1e-3,"grad_norm":2,"tokens_per_second":50,"share_of_limit":0.25}"#
    }

    @Test func `steps that are done again after a kill count as they were done last`() {
        let log = Self.log([
            Self.step(1, loss: "5"), Self.step(2, loss: "4"), #"{"event":"evaluation","time":100,"step":2,"eval_loss":3.5,"rows":7}"#,
            Self.step(3, loss: "3"), #"{"event":"warning","time":100,"text":"step 3 changed nothing","step":3}"#,
            // Goes on at the checkpoint of step 1.
            Self.step(2, loss: "4.5"), Self.step(3, loss: "3.5"),
        ])
        #expect(log.steps.map(\.step) == [1, 2, 3] && log.steps.map(\.loss) == [5, 4.5, 3.5])
        #expect(log.evaluations.isEmpty && log.skippedSteps.isEmpty && log.warnings == ["step 3 changed nothing"])
        #expect(log.steps[0].shareOfLimit == 0.25 && log.steps[0].lossScale.isNaN)
    }

    @Test func `damaged and half-written lines are counted and left out`() {
        let log = Self.log([
            Self.step(1), #"{"event":"st"#, "", "[1,2]", #"{"time":3}"#, "\u{0}\u{0}", Self.step(2), #"{"event":"unheard","time":9}"#,
            #"{"event":"step","time":1"#,
        ])
        #expect(log.steps.count == 2 && log.damagedLines == 5)
        #expect(Self.log([]).damagedLines == 0 && Self.log([]).seconds == 0)
    }

    @Test func `values that are not finite, or missing, make gaps`() {
        let log = Self.log([Self.step(1, loss: "null"), Self.step(2)])
        #expect(log.steps[0].loss.isNaN && log.steps[1].loss == 1.5)
    }

    private static func phase(_ number: Int, _ name: String, _ time: Double) -> String {
        #"{"event":"phase","time":\#(time),"number":\#(number),"of":10,"name":"\#(name)","cpu_percent":10,"ram_used_bytes":5,"ram_total_bytes":9,"rss_bytes":2,"gpu_used_bytes":0,"gpu_total_bytes":0}"#
    }

    @Test func `time between processes is not time of the run, and a phase that was cut off counts to its last event`() {
        let log = Self.log([
            Self.phase(1, "environment", 100), #"{"event":"phase_end","time":101,"number":1,"of":10,"name":"environment","seconds":1}"#,
            Self.phase(7, "training", 110), Self.step(1, time: 150),
            // Killed; goes on an hour later.
            Self.phase(1, "environment", 3750), #"{"event":"phase_end","time":3752,"number":1,"of":10,"name":"environment","seconds":2}"#,
            Self.phase(7, "training", 3760), Self.step(2, time: 3780),
        ])
        #expect(log.starts == 2 && log.seconds == 80 && log.states.map(\.seconds) == [0, 10, 50, 60])
        #expect(log.phases == [.init(name: "environment", seconds: 3), .init(name: "training", seconds: 40)])
        #expect(log.openPhase == "training" && log.phasesSoFar == [.init(name: "environment", seconds: 3), .init(name: "training", seconds: 60)])
    }

    @Test func `the status follows from the end`() {
        func status(_ lines: [String], summary: JSON? = nil) -> RunRecord.Status {
            var record = RunRecord(name: "x", log: Self.log(lines))
            record.summary = summary
            return record.status
        }
        let start = #"{"event":"environment","time":1,"version":"1"}"#
        func end(_ exit: Int) -> String { #"{"event":"end","time":2,"exit":\#(exit)}"# }
        #expect(
            status([start]) == .running && status([start, end(0)]) == .finished && status([start, end(75)]) == .stopped && status([start, end(4)]) == .failed)
        // A new process after a stop.
        #expect(status([start, end(75), Self.phase(1, "environment", 3)]) == .running)
        // Versions that reported no end.
        #expect(status([], summary: ["stopped_early": false]) == .finished && status([], summary: ["stopped_early": true]) == .stopped)
    }
}

struct DownsamplingTests {
    /// Noise of a fixed sequence.
    private static func curve(_ count: Int) -> [Point] {
        var state: UInt64 = 1
        return (0..<count).map { index in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Point(Double(index), Double(state >> 40) / Double(1 << 24))
        }
    }

    @Test(arguments: [1003, 20_000, 100_000]) func `every spike stays, with its own x, and the number is bounded`(count: Int) {
        var points = Self.curve(count)
        for (at, value) in [(count / 3, 40.0), (count / 2, -7.0), (count - 2, 9.0)] { points[at].y = value }
        let shown = points.downsampled(buckets: 100)
        #expect(shown.count <= 302 && shown.first == points.first && shown.last == points.last)
        for at in [count / 3, count / 2, count - 2] { #expect(shown.contains(points[at])) }
        #expect(zip(shown, shown.dropFirst()).allSatisfy { $0.x < $1.x })
        // Of every bucket the lowest and the highest stay.
        for bucket in 0..<100 {
            let range = (1 + (count - 2) * bucket / 100)..<(1 + (count - 2) * (bucket + 1) / 100)
            let (all, kept) = (points[range].map(\.y), shown.filter { Double(range.lowerBound)..<Double(range.upperBound) ~= $0.x }.map(\.y))
            #expect(kept.min() == all.min() && kept.max() == all.max())
        }
    }

    @Test func `a value that is not finite stays a gap`() {
        var points = Self.curve(10_000)
        points[5000].y = .nan
        let shown = points.downsampled(buckets: 50)
        #expect(shown.count { $0.y.isNaN } == 1 && shown.contains { $0.x == 5000 && $0.y.isNaN })
    }

    @Test func `few points stay all`() {
        let points = Self.curve(300)
        #expect(points.downsampled(buckets: 100) == points && [Point]().downsampled(buckets: 3) == [])
    }
}
