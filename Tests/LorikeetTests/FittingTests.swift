import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetGround
import LorikeetPlanning
import LorikeetRecipe
import Testing

@testable import Lorikeet

/// What is named where a run does not fit: every suggestion is applied to a new recipe, its records are read again, and the plan has to fit.
struct FittingTests {
    /// A machine that other tests' memory and work do not change.
    private static let machine = PlannedMachine(threads: 2, residentBytes: 100 << 20, processor: .besideCard(threads: 2), card: nil)

    /// Plans a recipe for a T4 that is not here, from its records.
    private struct Scene {
        let run: TinyRun
        /// Seconds of a session; nil sets no limit of time.
        var session: Double?
        var goesOn = false

        func planner(_ recipe: Recipe) throws -> RunPlanner {
            var preparation = try Preparation(recipe: recipe, files: RealFiles())
            let cpu = CPU(threads: 2)
            let dataset = try preparation.loadData(files: RealFiles(), cpu: cpu)
            let card = try DeviceRequest(recipe).card(named: "t4", gpuMemory: recipe.gpuMemoryBytes)
            var planner = RunPlanner(preparation, dataset, merges: true, card: card, cpu: cpu)
            planner.machine = FittingTests.machine
            return planner
        }

        func limits(_ recipe: Recipe) throws -> RunLimits {
            try RunLimits(
                recipe, isElsewhere: true, download: nil, output: OutputDirectory(path: recipe.output, files: RealFiles()), notebook: nil,
                files: RealFiles(), goesOn: goesOn
            ) { recipe, plan in
                session.map {
                    var time = SessionTime(plan, session: $0, elapsed: plan.beginningSeconds, starting: plan.beginningSeconds)
                    time.sessions = recipe.sessions
                    return time
                }
            }
        }

        /// Why a recipe's run does not fit; nil where it does.
        func misfit(_ recipe: Recipe) throws -> RunLimits.Kind? {
            do {
                return try limits(recipe).misfit(planner(recipe).ownPlan(), recipe)?.kind
            } catch let error as LorikeetError where error.exit == .doesNotFit { return .card }
        }

        func ways() throws -> [Fitting.Way] {
            var fitting = try Fitting(planner(run.recipe()), limits(run.recipe()))
            return try fitting.ways()
        }

        /// The recipe as somebody types it who takes a way.
        func recipe(_ options: [(name: String, value: String)]) throws -> Recipe {
            var run = run
            for option in options { run.options[option.name] = option.value }
            return try run.recipe()
        }
    }

    /// 400 short records and 12 long ones, many epochs.
    private func scene(_ options: [String: String] = [:]) throws -> Scene {
        var run = try TinyRun()
        let records = (0..<412).map { index in
            let length = index % 40 == 7 ? 34 : 2 + index % 9
            return #"{"prompt": "say \#(index % 7):", "completion": "\#(String(repeating: "a", count: length))"}"#
        }
        try (records.joined(separator: "\n") + "\n").write(toFile: run.folder + "/train.jsonl", atomically: true, encoding: .utf8)
        run.options = ["num-train-epochs": "40", "eval-steps": "0", "save-steps": "0", "warmup-steps": "1"].merging(options) { $1 }
        return Scene(run: run)
    }

    /// The session in which a share of the training fits.
    private func session(_ scene: Scene, share: Double) throws -> Double {
        let plan = try scene.planner(scene.run.recipe()).ownPlan()
        let time = SessionTime(plan, session: 1e9, elapsed: plan.beginningSeconds, starting: plan.beginningSeconds)
        let needed = time.elapsed + share * time.training + time.finishing
        // With the margin.
        return needed < 270 ? needed / 0.9 : needed + 30
    }

    private func requireTrue(_ ways: [Fitting.Way], _ scene: Scene) throws {
        for way in ways {
            #expect(try scene.misfit(scene.recipe(way.options)) == nil, "\(way.words)")
            #expect(!way.effect.isEmpty)
        }
    }

    @Test func `too little time: fewer records, epochs or more sessions, each the least that is enough`() throws {
        var scene = try scene()
        scene.session = try session(scene, share: 0.6)
        #expect(try scene.misfit(scene.run.recipe()) == .time)
        let ways = try scene.ways()
        let names = ways.flatMap { $0.changes.map(\.key) }
        #expect(Array(names.prefix(2)) == ["max_train_samples", "num_train_epochs"] && names.last == "sessions", "\(ways.map(\.words))")
        try requireTrue(ways, scene)
        #expect(ways.prefix(2).allSatisfy { $0.effect.hasPrefix("ends ") && $0.effect.contains(" after the start") }, "\(ways.map(\.words))")
        // About 60 % of both is enough, so much more is not.
        let records = try #require(ways[0].options.first.flatMap { Int($0.value) })
        let epochs = try #require(ways[1].options.first.flatMap { Double($0.value) })
        #expect((150..<200).contains(records) && (20..<26).contains(epochs), "\(records), \(epochs)")
        #expect(try scene.misfit(scene.recipe([("max-train-samples", "\(records * 106 / 100)")])) == .time)
        #expect(try scene.misfit(scene.recipe([("num-train-epochs", "\(epochs * 1.06)")])) == .time)
        #expect(ways.last?.options.first?.value == "2" && ways.last?.effect.hasPrefix("ends in session 2") == true, "\(ways.map(\.words))")
        // A run that has begun keeps what decides its training.
        scene.goesOn = true
        scene.session = 5
        #expect(try scene.ways().allSatisfy { $0.changes.allSatisfy { KeyTable.key(named: $0.key)?.role != .identity } })
    }

    @Test func `a limit of memory, disk or card is answered with a larger one and with what needs less`() throws {
        let memory = try scene(["ram": "10MiB"])
        let disk = try scene(["disk": "1MiB", "merge-dtype": "float32"])
        let card = try scene(["gpu-memory": "300MiB"])
        for (scene, kind, key) in [(memory, RunLimits.Kind.memory, "ram"), (disk, .disk, "disk"), (card, .card, "gpu_memory")] {
            #expect(try scene.misfit(scene.run.recipe()) == kind)
            let ways = try scene.ways()
            #expect(ways.first?.changes.map(\.key) == [key], "\(ways.map(\.words))")
            try requireTrue(ways, scene)
        }
        // A whole MiB less is too little.
        for (scene, name) in [(disk, "disk"), (card, "gpu-memory")] {
            let value = try #require(scene.ways().first?.options.first?.value)
            let less = try Units.parseBytes(value) - (2 << 20)
            #expect(try scene.misfit(scene.recipe([(name, "\(less)")])) != nil, "\(value)")
        }
    }

    @Test(arguments: [0.7, 0.35, 0.1]) func `fit trims records to a half, then epochs, then records again`(share: Double) throws {
        var scene = try scene(["num-train-epochs": "3", "per-device-train-batch-size": "1", "save-steps": "1"])
        scene.session = try session(scene, share: share)
        var fitting = try Fitting(scene.planner(scene.run.recipe()), scene.limits(scene.run.recipe()))
        let changes = try fitting.automatic()
        let options = Dictionary(uniqueKeysWithValues: changes.map { ($0.option.name, $0.option.value) })
        let records = try #require(options["max-train-samples"].flatMap { Int($0) })
        let epochs = options["num-train-epochs"].flatMap { Double($0) }
        switch share {
        case 0.7: #expect((155...309).contains(records) && epochs == nil, "\(options)")
        case 0.35: #expect((150...160).contains(records) && (1.5..<3).contains(epochs ?? 0), "\(options)")
        default: #expect((40...110).contains(records) && epochs == 1, "\(options)")
        }
        #expect(try scene.misfit(scene.recipe(changes.map(\.option))) == nil, "\(options)")
        scene.goesOn = true
        var begun = try Fitting(scene.planner(scene.run.recipe()), scene.limits(scene.run.recipe()))
        #expect(try begun.automatic().isEmpty)
    }

    @Test func `what fit decides is told and kept, and the same command goes on with it`() throws {
        var run = try TinyRun()
        // A checkpoint every other step: hours by the plan. Each process here ends after a step.
        (run.options["num-train-epochs"], run.options["session"]) = ("10000", "300s")
        let refused = try run.run(on: nil, goal: .adapter) { $0.machine = Self.machine }
        #expect(refused.error?.exit == .doesNotFit && refused.error?.fix?.contains("--max-train-samples ") == true, "\(String(describing: refused.error))")
        #expect(refused.error?.fix?.hasSuffix("or --fit, which trims the run by itself") == true)
        #expect(!FileManager.default.fileExists(atPath: run.output))
        run.options["fit"] = "true"
        let first = try run.run(on: nil, goal: .adapter, stopAfter: 2) { $0.machine = Self.machine }
        #expect(first.error?.exit == .stoppedEarly, "\(String(describing: first.error))")
        #expect(
            first.texts.contains { $0.hasPrefix("the run would not fit, so fit changes max_train_samples: 18 -> 9, num_train_epochs: 10000.0 -> ") },
            "\(first.texts)")
        let kept = try Recipe.resolve(file: run.output + "/run.yaml", options: []).recipe
        #expect(kept.maxTrainSamples == 9 && kept.numTrainEpochs < 10_000 && !kept.fit)
        #expect(try run.json("plan.json")["fitted"]?.array?.count == 2)
        let second = try run.run(on: nil, goal: .adapter, stopAfter: 2) { $0.machine = Self.machine }
        #expect(second.error?.exit == .stoppedEarly && second.error?.description.contains("stopped at step 4") == true, "\(String(describing: second.error))")
        #expect(try Recipe.resolve(file: run.output + "/run.yaml", options: []).recipe == kept)
        // Other settings are another run as ever.
        run.options["learning-rate"] = "1e-3"
        #expect(try run.run(on: nil, goal: .adapter) { $0.machine = Self.machine }.error?.exit == .unusableInput)
    }

    @Test func `several limits are met by one way`() throws {
        var scene = try scene(["disk": "1MiB"])
        scene.session = try session(scene, share: 0.5)
        let ways = try scene.ways()
        #expect(ways.first?.changes.map(\.key) == ["disk", "max_train_samples"], "\(ways.map(\.words))")
        try requireTrue(ways, scene)
    }

    @Test func `nothing is named where nothing helps`() throws {
        var scene = try scene()
        scene.session = 0.001
        #expect(try scene.ways().isEmpty)
        var fitting = try Fitting(scene.planner(scene.run.recipe()), scene.limits(scene.run.recipe()))
        let error = LorikeetError(.doesNotFit, "too long", fix: "wait")
        #expect(try fitting.explained(error).error == error)
    }

    @Test func `a shorter length is named where few samples are longer, with the number that lose their end`() throws {
        // The longest sample decides the smallest micro-batch: a byte less than it takes.
        let small = try scene(["gpu-memory": "1MiB"])
        var enough = 0
        do { _ = try small.planner(small.run.recipe()).ownPlan() } catch let error as LorikeetError { enough = try #require(error.enough) }
        let scene = try scene(["gpu-memory": "\(enough - 1)"])
        #expect(try scene.misfit(scene.run.recipe()) == .card)
        let ways = try scene.ways()
        let way = try #require(ways.first { $0.changes.map(\.key) == ["max_length"] }, "\(ways.map(\.words))")
        try requireTrue(ways, scene)
        let count = try #require(way.effect.firstMatch(of: /(\d+) of (\d+) samples lose their end/))
        let data = try #require(scene.planner(scene.recipe(way.options)).preparation.dataset)
        #expect(Int(count.output.1) == data.report.train.truncated && data.report.train.truncated > 0)
        #expect(Int(count.output.2) == data.train.count)
    }

    @Test func `a session ends with the earlier of its length and the deadline`() throws {
        func recipe(_ options: [String: String]) throws -> Recipe {
            try Recipe.resolve(file: nil, options: options.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }).recipe
        }
        let now = 1_764_280_000.0
        func clock(_ after: Double) -> String { TimeOfDay(of: now + after).description }
        // Cut to the minute, so up to 60 s earlier.
        let deadline = try #require(SessionLength(recipe(["deadline": clock(7200)]), elapsed: 100, now: now))
        #expect((7240...7300).contains(deadline.session) && deadline.later == deadline.session && deadline.limit == "--deadline")
        let early = try #require(SessionLength(recipe(["deadline": clock(7200), "session": "9h"]), elapsed: 100, now: now))
        #expect(early.session == deadline.session && early.later == 32_400 && early.limit == "--deadline")
        let late = try #require(SessionLength(recipe(["deadline": clock(36_000), "session": "9h"]), elapsed: 100, now: now))
        #expect(late.session == 32_400 && late.limit == "--session")
        #expect(try SessionLength(recipe([:]), elapsed: 0, now: now) == nil)
        // This very minute has begun, so the next such time is tomorrow's.
        #expect((80_000...90_100).contains(try #require(SessionLength(recipe(["deadline": clock(0)]), elapsed: 0, now: now)).session))
        for wrong in ["24:00", "7:5", "noon", "12:60", "-1:00", "12:00:00"] {
            #expect(throws: LorikeetError.self) { try recipe(["deadline": wrong]) }
        }
    }
}
