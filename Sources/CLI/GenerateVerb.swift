import ArgumentParser
import Lorikeet
import LorikeetDevices
import LorikeetGround

/// What `generate` and `chat` share.
struct GenerationOptions: ParsableArguments {
    @Option(help: "A Hugging Face directory, a .gguf file, or a hub's ORG/NAME.") var model: String
    @Option(help: "A PEFT adapter folder to put on top.") var adapter: String?
    @Option(help: "The system message.") var system: String?
    @Option(help: "The most new tokens of an answer.") var maxNewTokens = 256
    @Option(help: "auto, nf4, f16, bf16 or f32.") var baseStorage = "auto"
    @Option(help: "Where to compute: cpu, a card (cuda:0), or auto: the first card where there is one.") var device = "auto"
    @OptionGroup var work: ComputeOptions

    func validate() throws {
        guard DeviceRequest.knows(device: device) else { throw ValidationError("--device has to be cpu, cuda:N or auto") }
        guard (1...1_000_000).contains(maxNewTokens) else { throw ValidationError("--max-new-tokens has to be between 1 and 1000000") }
        guard Generator.storages.contains(baseStorage) else {
            throw ValidationError("--base-storage has to be one of \(Generator.storages.joined(separator: ", "))")
        }
    }

    func generator() throws -> Generator {
        let generator = try Generator(
            model: HubInputs.model(model), adapter: adapter.map(HubInputs.model), baseStorage: baseStorage,
            compute: work.request(device: device).open(DeviceOptions.cards))
        Screen.warn(generator.warnings)
        return generator
    }
}

struct GenerateVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Answers one prompt, greedily.",
        discussion: "Example: lorikeet generate --model out/merged --prompt \"tusker: any mammal with prominent tusks\"")
    @OptionGroup var options: GenerationOptions
    @Option(help: "The prompt to answer.") var prompt: String
    @Flag(help: "Continue the prompt as it stands, without the chat template.") var raw = false
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard !raw || options.system == nil else { throw ValidationError("--raw continues the prompt alone: leave --system out") }
    }

    func run() throws {
        let generator = try options.generator()
        let text = try generator.answer(
            raw ? .text(prompt) : .messages((options.system.map { [("system", $0)] } ?? []) + [("user", prompt)]), maxNewTokens: options.maxNewTokens
        ) { piece in
            if !json { Screen.out(piece) }
            return !StopSignal.isCaught
        }
        Screen.out(json ? Generator.json(prompt: prompt, answer: text) + "\n" : "\n")
    }
}

struct ChatVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat", abstract: "A conversation, line by line from standard input; an empty line or the end of input ends it.",
        discussion: "Example: lorikeet chat --model out/merged")
    @OptionGroup var options: GenerationOptions

    func run() throws {
        let generator = try options.generator()
        var messages = options.system.map { [("system", $0)] } ?? []
        while true {
            if Screen.isTerminal { Screen.out("> ") }
            guard let line = readLine(), !line.isEmpty else { return }
            messages.append(("user", line))
            let answer = try generator.answer(.messages(messages), maxNewTokens: options.maxNewTokens) { piece in
                Screen.out(piece)
                return true
            }
            Screen.out("\n")
            messages.append(("assistant", answer))
        }
    }
}
