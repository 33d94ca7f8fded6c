import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning

/// What a plan says about time: every phase has a prediction, and measurements change predictions alone.
struct PredictionTests {
    @Test func `every measured phase has a prediction beside it`() throws {
        var run = try TinyRun()
        run.options = ["export": "f16"]
        let outcome = try run.run(on: nil)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let (plan, summary) = (try run.json("plan.json"), try #require(outcome.summary))
        let measured = (summary["phases"]?.object?.entries ?? []).map(\.key)
        let predicted = (summary["predicted_phases"]?.object?.entries ?? []).map { ($0.key, $0.value.double ?? 0) }
        // The report's own time is not known when it writes the summary.
        #expect(measured.count == 9 && Set(measured).union(["report"]) == Set(predicted.map(\.0)), "\(measured) \(predicted)")
        #expect(predicted.allSatisfy { $0.1 > 0 }, "\(predicted)")
        let all = predicted.reduce(0) { $0 + $1.1 }
        #expect(abs(all - (summary["predicted_seconds"]?.double ?? 0)) < 1e-9 * all)
        let phases = (plan["phases"]?.object?.entries ?? []).map(\.key)
        for part in ["evaluation", "checkpoints", "exporting", "answering", "comparing"] { #expect(phases.contains(part), "\(part)") }
        let parts = try #require(summary["parts"])
        for part in ["exporting", "answering", "comparing", "evaluation"] { #expect(parts[part]?.double ?? 0 > 0, "\(part)") }
        #expect((parts["answering"]?.double ?? 0) + (parts["comparing"]?.double ?? 0) <= summary["phases"]?["testing"]?.double ?? 0)
        let range = try #require(plan["phase_ranges"]?["answering"]?.array).compactMap(\.double)
        let answering = try #require(plan["phases"]?["answering"]?.double)
        #expect(range.count == 2 && range[0] <= answering && answering <= range[1] && range[0] < range[1])
    }

    @Test func `steps tell the planned time of the run beside what is expected now`() throws {
        let run = try TinyRun()
        let outcome = try run.run(on: nil)
        let plan = try run.json("plan.json")
        let steps = outcome.events.filter { $0.kind == .step }
        #expect(steps.count == 6)
        for step in steps {
            #expect(step.fields["run_seconds_planned"]?.double == plan["predicted_seconds"]?.double)
            let (now, left) = (step.fields["run_seconds_expected"]?.double ?? 0, step.fields["run_seconds_left"]?.double ?? 0)
            #expect(now > left && left > 0)
        }
    }

    @Test func `a file of measurements changes minutes and no choice`() throws {
        var run = try TinyRun()
        let cache = run.folder + "/cache"
        try RealFiles().createDirectory(cache)
        let (compute, files) = (Compute(cpu: CPU(threads: 2)), RealFiles())
        var preparation = try Preparation(recipe: run.recipe(), files: files)
        let dataset = try preparation.loadData(files: files, cpu: compute.cpu)
        let subject = preparation.subject(card: nil, cpu: compute.cpu)
        var strange = Measurements()
        for phase in ["training", "testing", "merging", "answering"] { strange.add(phase, predicted: 1, measured: 9, subject) }
        try strange.write(to: cache, files: files)
        func plan(_ name: String, _ cacheFolder: String?) throws -> JSON {
            run.output = run.folder + "/" + name
            let outcome = try run.run(on: nil) { $0.cacheFolder = cacheFolder }
            #expect(outcome.error == nil && !outcome.texts.contains { $0.contains("predictions.json") })
            return try run.json("plan.json")
        }
        let (plain, corrected) = (try plan("plain", nil), try plan("corrected", cache))
        #expect(plain["choices"] == corrected["choices"] && plain["gpu_training_memory"] == corrected["gpu_training_memory"])
        #expect(plain["measured_phases"]?.array?.isEmpty == true)
        let names = Set((corrected["measured_phases"]?.array ?? []).compactMap(\.string))
        #expect(names == ["training", "evaluation", "checkpoints", "testing", "merging", "answering"])
        let table = try preparation.plan(dataset, merges: true, compute: compute, clock: SystemClock())
        let shown = preparation.corrected(table, card: nil, cpu: compute.cpu, cacheFolder: cache, files: files).plan
        for (before, after) in zip(table.phases, shown.phases) {
            let isMeasured = names.contains(before.name)
            #expect(abs(after.seconds - (isMeasured ? 9 : 1) * before.seconds) < 1e-9 && after.tableSeconds == (isMeasured ? before.seconds : nil))
        }
        #expect(table.choices == shown.choices && shown.table().contains("measured on this machine"))
    }

    @Test func `measurements are kept by device and model, the last few of each phase`() throws {
        let folder = try TinyRun().folder
        let (files, here) = (RealFiles(), Measurements.Subject(device: "a card", model: "a model"))
        var kept = Measurements()
        for ratio in [9.0, 1.0, 1.1, 1.2, 1.3, 1.4] { kept.add("training", predicted: 10, measured: 10 * ratio, here) }
        // The first of six is forgotten; short phases and absurd ratios say nothing.
        kept.add("merging", predicted: 0.5, measured: 0.9, here)
        kept.add("testing", predicted: 1, measured: 1000, here)
        try kept.write(to: folder, files: files)
        let (read, warning) = Measurements.read(from: folder, files: files)
        #expect(read == kept && warning == nil)
        #expect(abs((read.ratio("training", here) ?? 0) - 1.2) < 1e-12)
        #expect(read.ratio("merging", here) == nil && read.ratio("testing", here) == nil)
        #expect(read.ratio("training", .init(device: "another", model: "a model")) == nil)
        for index in 0..<100 { kept.add("training", predicted: 1, measured: 2, .init(device: "\(index)", model: "")) }
        #expect(kept.ratio("training", here) == nil && kept.ratio("training", .init(device: "99", model: "")) == 2)
    }

    @Test(arguments: ["", "{", "[1, 2]", #"{"entries": [{"device": 1}]}"#, String(repeating: " ", count: 300_000)])
    func `a damaged file of measurements is ignored, and said`(text: String) throws {
        let run = try TinyRun()
        try RealFiles().writeDurably(text, to: run.folder + "/predictions.json")
        let (read, warning) = Measurements.read(from: run.folder, files: RealFiles())
        #expect(read == Measurements() && warning?.contains("ignored") == true)
        let outcome = try run.run(on: nil) { $0.cacheFolder = run.folder }
        #expect(outcome.error == nil && outcome.texts.contains { $0.contains("predictions.json") && $0.contains("ignored") })
    }

    @Test func `a sequence that ends makes room for the next`() {
        #expect(Planner.decodingSteps([10, 10, 10, 10], slots: 2) == 20)
        #expect(Planner.decodingSteps([30, 1, 1, 1], slots: 2) == 30)
        #expect(Planner.decodingSteps([], slots: 16) == 0)
    }

    @Test(arguments: CardEntry.all.map(\.name)) func `a card of the table is planned for without a card`(name: String) throws {
        let run = try TinyRun()
        let recipe = try run.recipe()
        var preparation = try Preparation(recipe: recipe, files: RealFiles())
        let cpu = CPU(threads: 2)
        let dataset = try preparation.loadData(files: RealFiles(), cpu: cpu)
        let card = try DeviceRequest(recipe).card(named: name, gpuMemory: nil)
        let plan = try preparation.plan(dataset, merges: true, card: card, cpu: cpu, clock: SystemClock())
        let entry = try #require(CardEntry.all.first { $0.name == name })
        #expect(plan.choices.device == entry.title && plan.choices.architecture == entry.capability)
        #expect(plan.choices.element == (entry.capability >= 80 ? .bf16 : .f16))
        #expect(plan.predictedGPUBytes > Int64(entry.contextBytes) && plan.predictedGPUBytes < Int64(entry.totalBytes))
        #expect(plan.table().contains("not measured on this card") == (name != "h100"), "\(plan.table())")
        // What is chosen for the table's card is what the card itself would choose.
        #expect(CardEntry.of(entry.properties())?.name == name)
    }
}
