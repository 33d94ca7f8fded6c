import Dispatch
import Foundation
import HubServer
import LorikeetGround
import LorikeetJSON
import Synchronization
import Testing

@testable import Lorikeet

/// The library among other tasks: threads, cancellation, several callers.
struct LibraryTaskTests {
    private func kind<Value>(_ body: () async throws(LorikeetFailure) -> Value) async -> LorikeetFailure.Kind? {
        await failure(body)?.kind
    }

    // MARK: threads

    /// More calls than the cooperative pool has threads wait for a hub that does not answer. Were they on its threads, no other task could go on.
    @Test func `calls that block leave Swift's threads to other tasks, and end when they are cancelled`() async throws {
        let gate = DispatchSemaphore(value: 0)
        // A hub that has answered once may take its time; one that has said nothing is given up after seconds.
        let server = try HTTPServer { request in
            guard request.path.hasPrefix("/later") else { return HTTPServer.Response(307, headers: ["Location": "/later" + request.target]) }
            gate.wait()
            return HTTPServer.Response(503)
        }
        func waiting() -> Int { server.requests.count { $0.path.hasPrefix("/later") } }
        var run = try TinyRun()
        run.options["model"] = "someone/something"
        let tuning = try run.tuning(["HF_ENDPOINT": "http://127.0.0.1:\(server.port)"])
        let environment = ["HF_ENDPOINT": "http://127.0.0.1:\(server.port)", "HF_HOME": run.folder + "/hub"]
        let folder = run.folder
        let calls = 2 * ProcessInfo.processInfo.activeProcessorCount + 4
        defer {
            for _ in 0..<1000 { gate.signal() }
            server.stop()
        }
        let blocked = (0..<calls).map { number in
            Task.detached { () -> LorikeetFailure.Kind? in
                switch number % 6 {
                case 0: await kind { () async throws(LorikeetFailure) in try await tuning.plan() }
                case 3: await kind { () async throws(LorikeetFailure) in try await tuning.check() }
                case 4:
                    await kind { () async throws(LorikeetFailure) in
                        try await FineTuning.export(
                            model: "someone/something", output: folder + "/e\(number)", options: .init(forms: ["f16"]), environment: environment)
                    }
                case 1: await kind { () async throws(LorikeetFailure) in try await tuning.run().summary() }
                case 2:
                    await kind { () async throws(LorikeetFailure) in
                        try await Generator(model: "someone/something", device: "cpu", environment: environment)
                    }
                default:
                    await kind { () async throws(LorikeetFailure) in
                        try await FineTuning.merge(model: "someone/something", adapter: "/none", output: folder + "/m\(number)", environment: environment)
                    }
                }
            }
        }
        // All of them wait for the hub. This loop itself needs a cooperative thread after each pause, and other tests may keep those busy for a minute:
        // pauses are counted instead of seconds.
        var pauses = 0
        while waiting() < calls, pauses < 3000 {
            try await Task.sleep(for: .milliseconds(20))
            pauses += 1
        }
        #expect(waiting() >= calls)
        let others = await withTaskGroup(of: Int.self) { group in
            for number in 0..<200 {
                group.addTask {
                    await Task.yield()
                    return number
                }
            }
            return await group.reduce(0, +)
        }
        #expect(others == 199 * 100)
        for task in blocked { task.cancel() }
        for task in blocked { #expect(await task.value == .interrupted) }
    }

    // MARK: runs

    /// A run that is too long to end before a listener on a busy machine has read its first steps.
    private func longRun() throws -> TinyRun {
        var run = try TinyRun()
        let records = try String(contentsOfFile: run.folder + "/train.jsonl", encoding: .utf8)
        try String(repeating: records, count: 10).write(toFile: run.folder + "/train.jsonl", atomically: true, encoding: .utf8)
        run.options = ["num-train-epochs": "10000", "save-steps": "1000000", "eval-steps": "1000000", "logging-steps": "10000"]
        return run
    }

    private func step(of event: FineTuning.Event) -> Int? {
        event.name == "step" ? (try? JSON.parse(Array(event.json.utf8), source: "event"))?["step"]?.int : nil
    }

    /// Steps that the newest checkpoint holds.
    private func savedSteps(_ run: TinyRun) throws -> Int {
        let names = try FileManager.default.contentsOfDirectory(atPath: run.output + "/checkpoints")
        return names.compactMap { Int($0.replacing("step-", with: "")) }.max() ?? 0
    }

    @Test func `a cancelled task ends the run with everything saved, the directory is free at once, and the recipe goes on`() async throws {
        let run = try longRun()
        let tuning = try run.tuning()
        let (steps, reached) = AsyncStream<Int>.makeStream()
        let task = Task { () -> LorikeetFailure.Kind? in
            await kind { () async throws(LorikeetFailure) in
                for try await event in tuning.run() { if let step = step(of: event) { reached.yield(step) } }
            }
        }
        for await step in steps where step >= 3 { break }
        task.cancel()
        #expect(await task.value == .interrupted)
        let saved = try savedSteps(run)
        #expect(saved >= 3)
        // Immediately: nothing of the first run is left.
        let second = tuning.run()
        var resumed: Int?
        for try await event in second where step(of: event) != nil {
            resumed = step(of: event)
            break
        }
        #expect(resumed == saved + 1)
        // Leaving a loop does not stop a run that is still held.
        let third = try run.tuning().run()
        #expect(await kind { () async throws(LorikeetFailure) in try await third.summary() } == .alreadyRunning)
        second.stop()
        #expect(await kind { () async throws(LorikeetFailure) in try await second.summary() } == .interrupted)
        #expect(try savedSteps(run) > saved)
    }

    @Test func `a run that nobody holds stops by itself`() async throws {
        let run = try longRun()
        let tuning = try run.tuning()
        for try await event in tuning.run() where step(of: event) != nil { break }
        // Pauses are counted: other tests may keep the cooperative threads busy for longer than any time that could be waited here.
        var pauses = 0
        var next: LorikeetFailure.Kind?
        repeat {
            try await Task.sleep(for: .milliseconds(50))
            pauses += 1
            let again = tuning.run()
            again.stop()
            next = await kind { () async throws(LorikeetFailure) in try await again.summary() }
        } while next == .alreadyRunning && pauses < 3000
        #expect(next == .interrupted)
    }

    @Test func `the summary is summary.json, and every event comes once`() async throws {
        let run = try TinyRun()
        let started = try run.tuning().run()
        let text = try await started.summary()
        #expect(text + "\n" == (try String(contentsOfFile: run.output + "/summary.json", encoding: .utf8)))
        var names: [String] = []
        for try await event in started { names.append(event.name) }
        #expect(names.count { $0 == "step" } == 6 && names.last == "end")
        for try await event in started { Issue.record("\(event.name) came twice") }
    }

    @Test func `merging that is cancelled leaves nothing on the disk`() async throws {
        let run = try TinyRun()
        let (model, output) = (run.folder + "/model", run.folder + "/merged")
        let adapter = TinyRun.testsFolder.path + "/Reference/llama/adapter_init"
        let task = Task { () -> LorikeetFailure.Kind? in
            withUnsafeCurrentTask { $0?.cancel() }
            return await kind { () async throws(LorikeetFailure) in try await FineTuning.merge(model: model, adapter: adapter, output: output, threads: 1) }
        }
        #expect(await task.value == .interrupted)
        #expect(try FileManager.default.contentsOfDirectory(atPath: run.folder).sorted() == ["model", "train.jsonl"])
        _ = try await FineTuning.merge(model: model, adapter: adapter, output: output, threads: 1)
        #expect(FileManager.default.fileExists(atPath: output + "/model.safetensors"))
    }

    // MARK: generators

    @MainActor private func answerOnMain(_ generator: Generator, _ question: Generator.Question) async throws -> Answer {
        try await generator.answer(question, maxNewTokens: 24)
    }

    @Test func `a generator answers the main actor and many tasks at once as it answers one`() async throws {
        let run = try TinyRun()
        let generator = try await Generator(model: run.folder + "/model", device: "cpu", threads: 2)
        let questions = (0..<12).map { Generator.Question.text("say \($0):") }
        var alone: [Answer] = []
        for question in questions { alone.append(try await generator.answer(question, maxNewTokens: 24)) }
        #expect(try await answerOnMain(generator, questions[3]) == alone[3])
        let together = try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (index, question) in questions.enumerated() {
                group.addTask {
                    guard index % 2 == 0 else { return (index, try await generator.answer(question, maxNewTokens: 24)) }
                    var text = ""
                    for try await event in generator.stream(question, maxNewTokens: 24) {
                        switch event {
                        case .text(let piece): text += piece
                        case .answer(let answer):
                            #expect(answer.text == text)
                            return (index, answer)
                        }
                    }
                    throw LorikeetError.input("the stream ended without an answer")
                }
            }
            return try await group.reduce(into: [Int: Answer]()) { $0[$1.0] = $1.1 }
        }
        for (index, answer) in alone.enumerated() { #expect(together[index] == answer) }
        #expect(try await generator.answers(questions, maxNewTokens: 24, atATime: 4).map(\.newTokens) == alone.map(\.newTokens))
        #expect(try await generator.answers([], maxNewTokens: 24).isEmpty)
    }

    /// A question whose answer is long enough for the tests below.
    private func longQuestion(_ generator: Generator) async throws -> (question: Generator.Question, answer: Answer) {
        for number in 0..<50 {
            let question = Generator.Question.text("say \(number):")
            let answer = try await generator.answer(question, maxNewTokens: 90)
            if answer.newTokens == 90, answer.text.count > 40 { return (question, answer) }
        }
        throw LorikeetError.input("no question has a long answer")
    }

    @Test func `a stream runs ahead of a slow reader by few pieces, and completes its answer for another caller`() async throws {
        let run = try TinyRun()
        let generator = try await Generator(model: run.folder + "/model", device: "cpu", threads: 2)
        let (question, whole) = try await longQuestion(generator)
        let stream = generator.stream(question, maxNewTokens: 90)
        var pieces = stream.makeAsyncIterator()
        guard case .text(let first)? = try await pieces.next() else { throw LorikeetError.input("no first piece") }
        // Long after the rest could have been computed, no more than the limit are there.
        try await Task.sleep(for: .milliseconds(500))
        #expect((1...17).contains(stream.listening.channel.pending), "\(stream.listening.channel.pending)")
        // The reader itself asks the same generator for something else: neither waits for the other.
        #expect(try await generator.answer(.text("say 1:"), maxNewTokens: 4).newTokens > 0)
        #expect(stream.listening.channel.pending > 17)
        var text = first
        var last: Answer?
        while let event = try await pieces.next() {
            switch event {
            case .text(let piece): text += piece
            case .answer(let answer): last = answer
            }
        }
        #expect(last == whole && text == whole.text)
    }

    @Test func `cancelling or leaving a stream ends its answer, and the generator goes on`() async throws {
        let run = try TinyRun()
        let generator = try await Generator(model: run.folder + "/model", device: "cpu", threads: 2)
        let (question, whole) = try await longQuestion(generator)
        let (started, isStarted) = AsyncStream<Void>.makeStream()
        let task = Task { () -> LorikeetFailure.Kind? in
            await kind { () async throws(LorikeetFailure) in
                for try await _ in generator.stream(question, maxNewTokens: 90) {
                    isStarted.yield()
                    while !Task.isCancelled { await Task.yield() }
                }
            }
        }
        for await _ in started { break }
        task.cancel()
        #expect(await task.value == .interrupted)
        for try await _ in generator.stream(question, maxNewTokens: 90) { break }
        #expect(try await generator.answer(question, maxNewTokens: 90) == whole)
        let cancelled = Task { () -> LorikeetFailure.Kind? in
            withUnsafeCurrentTask { $0?.cancel() }
            return await kind { () async throws(LorikeetFailure) in try await generator.answer(question, maxNewTokens: 90) }
        }
        #expect(await cancelled.value == .interrupted)
    }

    // MARK: plans

    @Test func `a plan is a value with all that its JSON has`() async throws {
        let run = try TinyRun()
        let plan = try await run.tuning().plan()
        let json = try JSON.parse(Array(plan.json.utf8), source: "plan")
        func bytes(_ key: String) -> [String: Int64] { (json[key]?.object?.entries ?? []).reduce(into: [:]) { $0[$1.key] = $1.value.int.map(Int64.init) } }
        func bytes(_ parts: [FineTuning.Plan.Part]) -> [String: Int64] { parts.reduce(into: [:]) { $0[$1.name] = $1.bytes } }
        #expect(bytes(plan.trainingMemory) == bytes("training_memory") && !plan.trainingMemory.isEmpty)
        #expect(bytes(plan.testMemory) == bytes("test_memory") && bytes(plan.disk) == bytes("disk") && plan.gpuTrainingMemory.isEmpty)
        #expect(plan.phases.map(\.name) == json["phases"]?.object?.entries.map(\.key))
        #expect(plan.memoryBytes == json["predicted_rss_bytes"]?.int.map(Int64.init) && plan.diskBytes == plan.disk.reduce(0) { $0 + $1.bytes })
        #expect(abs(plan.seconds - plan.phases.reduce(0) { $0 + $1.seconds }) < 1e-9 && plan.steps == 6 && plan.steps == json["steps"]?.int)
        #expect(plan.device == "cpu" && plan.computeType == "f32" && plan.baseStorage == json["choices"]?["base_storage"]?.string)
        #expect(plan.rest == nil && plan.misfit == nil && plan.downloadBytes == 0 && plan.sessionsNeeded == nil)
        #expect(plan.description.hasPrefix("memory in training"))
        _ = try await run.tuning().run().summary()
        let after = try await run.tuning().plan()
        #expect(after.rest?.isFinished == true && after.rest?.leftSteps == 0 && after.description.contains("left: nothing"))
    }
}
