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
    @OptionGroup var choice: SamplingArguments

    func validate() throws {
        guard DeviceRequest.knows(device: device) else { throw ValidationError("--device has to be cpu, cuda:N or auto") }
        guard (1...1_000_000).contains(maxNewTokens) else { throw ValidationError("--max-new-tokens has to be between 1 and 1000000") }
        guard Generator.storages.contains(baseStorage) else {
            throw ValidationError("--base-storage has to be one of \(Generator.storages.joined(separator: ", "))")
        }
    }

    /// Where the model and the adapter are on this machine.
    ///
    /// - Parameter kept: paths in a hub's cache: a hub's name without a revision stands for the commit of one of them, where it is in one.
    func located(kept: [String] = []) throws -> (model: String, adapter: String?) {
        (try HubInputs.model(model, kept: kept), try adapter.map { try HubInputs.adapter($0, kept: kept) })
    }

    /// Loads the model.
    ///
    /// - Parameter interruption: asked while the weights are loaded and between two operations of the model: true ends that with `Interrupted`.
    func generator(_ model: String, _ adapter: String?, interruption: (@Sendable () -> Bool)? = nil) throws -> AnsweringModel {
        let compute = try work.open(device: device)
        compute.cpu.interruption = interruption
        let generator = try AnsweringModel(model: model, adapter: adapter, baseStorage: baseStorage, compute: compute)
        Screen.warn(generator.warnings)
        return generator
    }
}

/// How tokens are chosen: `SamplingOptions` as options.
struct SamplingArguments: ParsableArguments {
    @Option(help: "Divides the logits before a token is drawn; 0 always takes the likeliest token.") var temperature = 0.0
    @Option(help: "Draw from the K likeliest tokens [all].") var topK: Int?
    @Option(help: "Draw from the likeliest tokens that together have this probability [all].") var topP: Double?
    @Option(help: "Draw from tokens with at least this share of the likeliest token's probability [all].") var minP: Double?
    @Option(help: "Makes tokens less likely that were there before; 1 changes nothing.") var repetitionPenalty = 1.0
    @Option(help: "Seed of the random numbers.") var seed = 42
    @Option(help: "End the answer before this text; may be given several times.") var stop: [String] = []

    var options: SamplingOptions {
        var options = SamplingOptions()
        (options.temperature, options.topK, options.topP, options.minP) = (temperature, topK, topP, minP)
        (options.repetitionPenalty, options.seed, options.stop) = (repetitionPenalty, seed, stop)
        return options
    }

    func validate() throws {
        guard let fault = options.fault else { return }
        throw ValidationError("--\(String(fault.key.map { $0 == "_" ? "-" : $0 })) \(fault.words)")
    }
}
