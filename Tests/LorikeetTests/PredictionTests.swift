import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning
@testable import LorikeetReporting

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
        let table = try preparation.plan(dataset, merges: true, compute: compute)
        let shown = table.corrected(by: Preparation.measurements(for: nil, cacheFolder: cache, files: files).0, subject)
        for (before, after) in zip(table.phases, shown.phases) {
            let isMeasured = names.contains(before.name)
            #expect(abs(after.seconds - (isMeasured ? 9 : 1) * before.seconds) < 1e-9 && after.tableSeconds == (isMeasured ? before.seconds : nil))
        }
        #expect(table.choices == shown.choices && shown.table().contains("measured on this machine"))
    }

    @Test func `measurements are kept by device and model, the last few of each phase`() throws {
        // A cache folder that nothing has made yet.
        let folder = try TinyRun().folder + "/cache/lorikeet"
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

    @Test func `measurements that hold other processes' work are not read`() throws {
        let (folder, files, here) = (try TinyRun().folder, RealFiles(), Measurements.Subject(device: "a processor", model: "a model"))
        func entry(_ key: String) -> String { #"{"entries": [{"device": "a processor", "model": "a model", "\#(key)": {"training": [1.5]}}]}"# }
        for (key, ratio) in [("ratios", nil), ("alone", Optional(1.5))] {
            try files.writeDurably(entry(key), to: folder + "/predictions.json")
            let (read, warning) = Measurements.read(from: folder, files: files)
            #expect(read.ratio("training", here) == ratio && warning == nil)
        }
    }

    /// The planner of a small run on the processor.
    private func planner(_ options: [String: String] = [:]) throws -> Planner {
        var run = try TinyRun()
        run.options.merge(options) { $1 }
        var preparation = try Preparation(recipe: run.recipe(), files: RealFiles())
        let cpu = CPU(threads: 2)
        let dataset = try preparation.loadData(files: RealFiles(), cpu: cpu)
        let exports = [PlannedExport(Plan.Part("weights (GGUF F16)", 1000), secondsPerElement: 1e-9, isExact: true)]
        return try preparation.planner(dataset, merges: true, exports: exports, card: nil, cpu: cpu)
    }

    private func slowdown(oneThread: Double, allThreads: Double) -> Slowdown { Slowdown(threads: 2) { ($0 == 1 ? oneThread - 1 : allThreads - 1) / 1.6 + 1 } }

    @Test func `a plan counts what other processes take of each phase's threads, and says so`() throws {
        var planner = try planner()
        planner.machine.slowdown = Slowdown()
        let alone = try planner.plan()
        planner.machine.slowdown = slowdown(oneThread: 1.25, allThreads: 1.5)
        let beside = try planner.plan()
        #expect(beside.slowdown == planner.machine.slowdown && beside.choices == alone.choices)
        #expect(alone.phases.map(\.name) == PlannedPhase.all.map(\.name).filter { $0 != "kernels" })
        for name in ["formatting", "planning", "training", "merging", "testing", "answering"] {
            #expect(alone.phases.contains { $0.name == name && $0.seconds > 0 }, "\(name)")
        }
        let serial: Set = ["environment", "data", "checks", "planning", "checkpoints", "merging", "report"]
        for (before, after) in zip(alone.phases, beside.phases) {
            let factor = serial.contains(before.name) ? 1.25 : 1.5
            #expect(abs(after.seconds - factor * before.seconds) <= 1e-9 * after.seconds, "\(before.name)")
            #expect((before.range == nil) == (after.range == nil))
            guard let range = before.range, let longer = after.range else { continue }
            #expect(abs(longer.lowerBound / range.lowerBound - factor) < 1e-9 && abs(longer.upperBound / range.upperBound - factor) < 1e-9)
        }
        let factor = Figures.fixed(beside.predictedSeconds / alone.predictedSeconds, 1)
        let words = "other processes are at work: \(factor) times as long as alone (\(Units.formatSeconds(alone.predictedSeconds)))"
        #expect(beside.table().contains(words), "\(beside.table())")
        #expect(!alone.table().contains("other processes") && alone.json["slowdown"]?.double == 1 && beside.json["slowdown"]?.double == 1.5)
    }

    @Test func `what is kept of a run is its time by the table's, both without other processes' work`() throws {
        var plan = try planner().plan()
        plan.slowdown = slowdown(oneThread: 1.25, allThreads: 1.5)
        // Alone by the table: training with its parts 8 + 1 + 1 s, merging 4, exporting 6, testing 8, answering 5, comparing 2.
        plan.phases = [
            .init("planning", 30), .init("training", 12), .init("evaluation", 1.5), .init("checkpoints", 1.25), .init("merging", 5), .init("exporting", 9),
            .init("testing", 12), .init("answering", 7.5), .init("comparing", 3),
        ]
        // As it was shown: corrected by an earlier run.
        plan.phases[1].tableSeconds = 12
        plan.phases[1].seconds = 99
        let here = Measurements.Subject(device: "a processor", model: "a model")
        func kept(testing: Double) -> Measurements {
            var kept = Measurements()
            let (exporting, answering, comparing) = (3 * 1.5 * 6, testing * 0.5 * 5, testing * 0.9 * 2)
            kept.add(
                plan,
                steps: ["planning": 50, "training": 2 * 1.3 * 10, "merging": 1.1 * 0.8 * 4 + exporting, "testing": testing * 0.7 * 8 + answering + comparing],
                parts: ["exporting": exporting, "evaluation": 7, "answering": answering, "comparing": comparing],
                slowdown: { step in
                    switch step {
                    case "training": slowdown(oneThread: 1.2, allThreads: 2)
                    case "merging": slowdown(oneThread: 1.1, allThreads: 3)
                    case "testing": slowdown(oneThread: 1, allThreads: testing)
                    default: slowdown(oneThread: 9, allThreads: 9)
                    }
                }, here)
            return kept
        }
        func ratios(_ measurements: Measurements) -> [Double?] {
            ["training", "merging", "exporting", "testing", "answering", "comparing", "planning"].map { name in
                measurements.ratio(name, here).map { ($0 * 1e6).rounded() / 1e6 }
            }
        }
        #expect(ratios(kept(testing: 3.9)) == [1.3, 0.8, 1.5, 0.7, 0.5, 0.9, nil])
        // Of what others slowed by more than four, nothing is kept.
        #expect(ratios(kept(testing: 4.1)) == [1.3, 0.8, 1.5, nil, nil, nil, nil])
        let corrected = plan.corrected(by: kept(testing: 3.9), here)
        let factors = zip(corrected.phases, plan.phases).map { ($0.seconds / $1.seconds * 1e6).rounded() / 1e6 }
        #expect(factors == [1, 1.3, 1.3, 1.3, 0.8, 1.5, 0.7, 0.5, 0.9])
    }

    @Test func `planning is priced by the samples of all steps, and by what is read of them`() throws {
        func visits(_ options: [String: String]) throws -> (seconds: Double, visits: Double) {
            var planner = try planner(options)
            planner.machine.slowdown = Slowdown()
            let seconds = try planner.plan().phases.first { $0.name == "planning" }?.seconds ?? 0
            return (seconds - HostTable(threads: 2).planning(visits: 0, sharing: false, onCard: false), Double(planner.data.visits))
        }
        let (shared, whole) = (try visits(["lora-dropout": "0"]), try visits(["lora-dropout": "0.1"]))
        // Measured: 4 to 5.6 and 0.24 microseconds a sample; for a card's sizes 0.05 to 0.09.
        #expect(abs(shared.seconds / shared.visits - 4e-6) < 1e-9 && abs(whole.seconds / whole.visits - 2.5e-7) < 1e-9)
        let host = HostTable(threads: 2)
        let card = host.planning(visits: 1_000_000, sharing: false, onCard: true) - host.planning(visits: 0, sharing: false, onCard: true)
        #expect(abs(card - 0.1) < 1e-9)
    }

    @Test func `evaluated rows are counted with those that pad their batches, as trained rows are`() throws {
        let planner = try planner()
        let training = planner.data.stepsOnProcessor(.one)
        let request = ProgramRequest(
            storage: .f32, lora: planner.model.lora, sizes: SessionSizes(training: training.largest.rows, evaluation: 64), target: .cpu(threads: 2))
        let times = planner.timesOnProcessor(try planner.model.plan(request), training)
        #expect(times.evaluatedRows == planner.data.evaluation.paddedRows && times.evaluatedRows > planner.data.evaluation.rows)
        let lengths = [SampleLength(tokens: 130, trained: 1), SampleLength(tokens: 20, trained: 1)]
        #expect(PlannedBatches(lengths, tokensPerBatch: 130).paddedRows == 160 + 32)
        #expect(Planner.evaluatedRows(lengths, tokensPerBatch: 130, .f16) == 256 + 32)
    }

    @Test func `a run tells by what factor others slowed each step`() throws {
        let outcome = try TinyRun().run(on: nil)
        let slowdowns = try #require(outcome.summary?["slowdowns"]?.object?.entries)
        for step in ["planning", "training", "merging", "testing"] { #expect(slowdowns.contains { $0.key == step }, "\(step)") }
        #expect(slowdowns.allSatisfy { (1...13).contains($0.value.double ?? 0) })
        let shares = Slowdown(threads: 5) { $0 == 1 ? 0.5 : Double($0) / 2 }
        #expect(shares.oneThread == 1 && abs(shares.allThreads - 3.4) < 1e-9)
    }

    /// Weights go to the card through pinned memory, and a merge gives pages back as it goes on: measured were 0.84 GB where 2.5 GB are read and written.
    @Test(arguments: ["t4", "h100"]) func `host memory of a card's run holds no pages of model files`(name: String) throws {
        let run = try TinyRun()
        let recipe = try run.recipe()
        var preparation = try Preparation(recipe: recipe, files: RealFiles())
        let cpu = CPU(threads: 2)
        let dataset = try preparation.loadData(files: RealFiles(), cpu: cpu)
        let plan = try preparation.plan(dataset, merges: true, card: DeviceRequest(recipe).card(named: name, gpuMemory: nil), cpu: cpu)
        #expect(plan.choices.test.mergedOnCard && plan.choices.test.comparedOnCard)
        #expect(!(plan.trainingMemory + plan.testMemory).contains { $0.mapped })
        #expect(plan.phases.contains { $0.name == "kernels" && $0.seconds > 0 })
        let names = ["program, tokenizer, data", "BLAS", "the card's libraries, as they load kernels", "adapters, gradients, optimiser"]
        #expect(plan.trainingMemory.map(\.name) == names && plan.testMemory.map(\.name) == names + ["logits to compare"])
        let all = plan.testMemory.dropFirst().reduce(0) { $0 + $1.bytes }
        #expect(plan.predictedRSSBytes == (plan.testMemory.first?.bytes ?? 0) + all)
    }

    /// The forms of a model are planned from the same few programs, each of which is made once.
    @Test func `a plan makes few programs beside those of training, and each once`() throws {
        let recipe = try TinyRun().recipe()
        var preparation = try Preparation(recipe: recipe, files: RealFiles())
        let cpu = CPU(threads: 2)
        let dataset = try preparation.loadData(files: RealFiles(), cpu: cpu)
        let card = try DeviceRequest(recipe).card(named: "t4", gpuMemory: nil)
        let planner = try preparation.planner(dataset, merges: true, exports: [], card: card, cpu: cpu)
        _ = try planner.plan()
        let made = planner.model.programs.count
        #expect((4...14).contains(made), "\(made) programs")
        _ = try planner.plan()
        #expect(planner.model.programs.count == made)
    }

    @Test func `compiling kernels is priced by processors and by whose code it is`() throws {
        func seconds(_ threads: Int, architecture: Int, compiled: Bool) throws -> Double {
            let entry = try #require(CardEntry.all.first { $0.name == "h100" })
            var card = PlannedCard(entry, entry.properties(architecture: architecture), .f16, gpuMemory: nil)
            card.hasKernels = compiled
            return HostTable(threads: threads).kernels(card)
        }
        // With 16 processors the first step came 2.2 to 2.6 s later, and 3.6 to 4.1 s in a T4's code (docs/benchmarks.md).
        let kept = try seconds(16, architecture: 90, compiled: true)
        #expect((2.2...2.6).contains(try seconds(16, architecture: 90, compiled: false) - kept))
        #expect((3.5...4.1).contains(try seconds(16, architecture: 75, compiled: false) - kept))
        #expect(try seconds(2, architecture: 90, compiled: false) > 10)
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
        let plan = try preparation.plan(dataset, merges: true, card: card, cpu: cpu)
        let entry = try #require(CardEntry.all.first { $0.name == name })
        #expect(plan.choices.device == entry.title && plan.choices.architecture == entry.capability)
        #expect(plan.choices.element == (entry.capability >= 80 ? .bf16 : .f16))
        #expect(plan.predictedGPUBytes > Int64(entry.contextBytes) && plan.predictedGPUBytes < Int64(entry.totalBytes))
        #expect(plan.table().contains("not measured on this card") == !["h100", "h200"].contains(name), "\(plan.table())")
        // What is chosen for the table's card is what the card itself would choose.
        #expect(CardEntry.of(entry.properties())?.name == name)
    }
}
