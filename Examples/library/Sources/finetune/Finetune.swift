import Foundation
import Lorikeet

/// Checks the data, plans a run, makes it, exports the merged model and asks it something: `finetune MODEL DATA OUTPUT [OPTION=VALUE...]`.
@main
struct Finetune {
    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count >= 3 else {
            print("usage: finetune MODEL DATA OUTPUT [OPTION=VALUE...]")
            exit(2)
        }
        var options = ["model": arguments[0], "data": arguments[1], "output": arguments[2]]
        for argument in arguments.dropFirst(3) {
            let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
            options[parts[0]] = parts.count == 2 ? parts[1] : "true"
        }
        do {
            try await run(options)
        } catch {
            // One type for everything that is thrown: switch on its kind, show its sentence.
            switch error.kind {
            case .interrupted: print("stopped with everything saved; the same command goes on")
            case .doesNotFit: print("too large for this machine: \(error)")
            default: print("\(error)")
            }
            exit(error.exitCode)
        }
    }

    static func run(_ options: [String: String]) async throws(LorikeetFailure) {
        let tuning = try FineTuning(options: options, environment: ProcessInfo.processInfo.environment)

        let check = try await tuning.check(samples: .first(1))
        print("\(check.training.samples) samples, \(check.training.trainedTokens) of \(check.training.tokens) tokens are learnt")
        for sample in check.samples { print(sample) }
        if let failure = check.failure { throw failure }

        let plan = try await tuning.plan()
        for part in plan.trainingMemory { print("\(part.name): \(part.bytes >> 20) MiB") }
        for phase in plan.phases { print("\(phase.name): \(Int(phase.seconds)) s") }
        if let misfit = plan.misfit { throw misfit }

        let started = tuning.run()
        for try await event in started where ["log", "evaluation", "warning"].contains(event.name) { print(event.json) }
        print(try await started.summary())

        let merged = (options["output"] ?? "") + "/merged"
        let gguf = merged + "-gguf"
        if !FileManager.default.fileExists(atPath: gguf) {
            let export = try await FineTuning.export(model: merged, output: gguf, options: .init(forms: ["q8_0"]))
            for file in export.files { print("\(file.path): \(file.bytes >> 20) MiB") }
        }

        let generator = try await Generator(model: merged)
        for try await event in generator.stream(.messages([(role: "user", content: "What is an otter?")]), maxNewTokens: 32) {
            switch event {
            case .text(let piece): print(piece, terminator: "")
            case .answer(let answer): print("\n(\(answer.newTokens) tokens, ended by \(answer.ending.rawValue))")
            }
        }
    }
}
