import LorikeetJSON
import Testing

@testable import LorikeetReporting

struct PredictedMeasuredTests {
    private func record(_ summary: JSON?) -> RunRecord {
        var record = RunRecord(name: "r", log: RunLog())
        record.plan = [
            "predicted_gpu_bytes": 0, "predicted_rss_bytes": 2_097_152, "predicted_disk_bytes": 1024, "predicted_seconds": 140, "steps": 10,
            "train_tokens": 8000, "phases": ["training": 80, "evaluation": 20, "testing": 40],
        ]
        (record.summary, record.diskBytes) = (summary, 512)
        return record
    }

    @Test func `a finished run has each prediction beside its measurement`() {
        let summary: JSON = [
            "steps": 10, "peak_rss_bytes": 1_048_576, "seconds": 70, "tokens_per_second": 150,
            "phases": ["training": 50, "merging": 3, "testing": 10], "stopped_early": false,
        ]
        let rows = PredictedMeasured(record(summary)).rows.map(\.cells)
        #expect(
            rows == [
                ["memory", "2.0 MiB", "1.0 MiB", "0.5"], ["disk", "1.0 KiB", "512 B", "0.5"], ["steps", "10", "10", "1"],
                ["training", "1 min 40 s", "50 s", "0.5"], ["merging", "-", "3.0 s", "-"], ["testing", "40 s", "10 s", "0.25"],
                ["time in all", "2 min 20 s", "1 min 10 s", "0.5"], ["tokens/s", "100", "150", "1.5"],
            ])
        let lines = PredictedMeasured(record(summary)).text.split(separator: "\n")
        #expect(lines.count == 9 && lines[0] == "                  planned        happened       ratio")
        #expect(lines[4] == "training          1 min 40 s     50 s           0.5")
    }

    @Test func `a run that goes on has predictions alone, and one without a plan nothing`() {
        let rows = PredictedMeasured(record(nil)).rows
        #expect(rows.map(\.name) == ["memory", "disk", "steps", "time in all", "tokens/s"] && rows.filter { $0.measured != nil }.map(\.name) == ["disk"])
        #expect(PredictedMeasured(RunRecord(name: "r", log: RunLog())).rows.isEmpty)
    }

    @Test func `a step's prediction is the sum of its parts`() {
        let plan: JSON = [
            "phases": [
                "kernels": 1, "training": 2, "evaluation": 4, "checkpoints": 8, "merging": 16, "exporting": 32, "testing": 64, "answering": 128,
                "comparing": 256,
            ]
        ]
        #expect(["training", "merging", "testing", "report"].map { PredictedMeasured.predictedSeconds(of: $0, plan) } == [15, 48, 448, nil])
        for phase in PlannedPhase.all {
            #expect(PlannedPhase.all.filter { $0.name == phase.name } == [phase] && PlannedPhase.named(phase.step).step == phase.step)
            #expect(phase.measuredAs == nil || phase.measuredAs == phase.name || phase.measuredAs == phase.step)
        }
        #expect(PlannedPhase.named("of another version").step == "of another version")
    }
}
