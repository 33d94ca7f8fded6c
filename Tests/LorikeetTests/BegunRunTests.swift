import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import Testing

@testable import Lorikeet
@testable import LorikeetPlanning

/// What `plan` says of a run that has begun.
struct BegunRunTests {
    private let files = RealFiles()

    private func find(_ run: TinyRun) throws -> BegunRun.Search {
        var environment = PipelineEnvironment()
        environment.inputFolders = []
        return try BegunRun.find(run.recipe(), goal: .testedModel, environment)
    }

    private let plan = Plan(
        choices: .init(storage: .nf4, threads: 1, tokensPerBatch: 1, sizes: .init(training: 1, evaluation: 1, headChunk: 1), passes: PassPolicy.nothing),
        trainingMemory: [], testMemory: [], disk: [.init("merged model", 1 << 30)],
        phases: [.init("training", 90), .init("evaluation", 30), .init("merging", 20), .init("testing", 40)], steps: 6, trainTokens: 1,
        trainableParameters: 1, warnings: [])

    @Test func `the rest of a run is its steps, their share of the time, and what is not written`() throws {
        let run = try TinyRun()
        #expect(try find(run) == BegunRun.Search())
        #expect(try run.run(on: nil, stopAfter: 2).error?.exit == .stoppedEarly)
        let begun = try #require(find(run).run)
        #expect(begun.steps == 2 && begun.path == run.output && begun.keptBytes > 0 && !begun.isFinished)
        let rest = begun.rest(of: plan)
        #expect(rest.steps == 4 && rest.phases == [.init("training", 60), .init("evaluation", 20), .init("merging", 20), .init("testing", 40)])
        #expect(rest.seconds == 140 && rest.diskBytes == (1 << 30) - begun.keptBytes)
        #expect(
            begun.words(plan).hasPrefix("left: 4 of 6 steps, for \(run.output) is at step 2; about 2 min 20 s (training 1 min 00 s, "), "\(begun.words(plan))")
        #expect(begun.json(plan)["done_steps"] == 2 && begun.json(plan)["steps"] == 4 && begun.json(plan)["finished"] == false)
        #expect(try run.run(on: nil).error == nil)
        let finished = try #require(find(run).run)
        #expect(finished.isFinished && finished.words(plan) == "left: nothing; \(run.output) is finished" && finished.json(plan)["seconds"]?.double == 0)
    }

    @Test func `an earlier output counts, and a directory of another recipe is told`() throws {
        var run = try TinyRun()
        #expect(try run.run(on: nil, stopAfter: 2).error?.exit == .stoppedEarly)
        let first = run.output
        run.output += "-next"
        run.options["resume-from"] = first
        let search = try find(run)
        #expect(search.run?.steps == 2 && search.run?.path == first && search.run?.keptBytes == 0)
        #expect(search.notes.contains { $0.hasPrefix("going on from \(first)") } && !files.exists(run.output))
        run.options["resume-from"] = first + "-none"
        let missing = #expect(throws: LorikeetError.self) { try find(run) }
        #expect(missing?.exit == .unusableInput && missing?.place == first + "-none")
        run.options["resume-from"] = nil
        run.output = first
        run.options["learning-rate"] = "1e-3"
        let other = try find(run)
        #expect(
            other.run == nil && other.warnings.count == 1 && other.warnings[0].hasPrefix("a run would be refused: ")
                && other.warnings[0].contains("learning_rate"))
    }
}
