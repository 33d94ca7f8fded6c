import LorikeetDevices
import LorikeetEngine
import LorikeetGround

/// A model, perhaps with an adapter on top, that answers.
///
///     let generator = try await Generator(model: "out/merged")
///     let answer = try await generator.answer(.messages([("user", "What is an otter?")]), maxNewTokens: 64)
///     for try await event in generator.stream(.text("Once upon a time"), maxNewTokens: 64) {
///         if case .text(let piece) = event { print(piece, terminator: "") }
///     }
///
/// Any task and any actor may use it, several at once: one answers after the other, on a thread of the generator's own. Loading and answering occupy none of
/// Swift's cooperative threads. A cancelled task's answer ends after the present token, with ``LorikeetFailure/Kind-swift.enum/interrupted``.
public actor Generator {
    private let executor: ThreadExecutor
    private let model: AnsweringModel
    /// Warnings about what the model's files hold and the program does not use.
    public nonisolated let warnings: [String]

    /// The thread on which the generator answers.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// What a generator is asked.
    public enum Question: Sendable {
        /// Continued as it stands.
        case text(String)
        /// Roles and contents, through the model's chat template.
        case messages([(role: String, content: String)])
    }

    /// Names that `baseStorage` takes.
    public static let storages = ["auto", "nf4", "f16", "bf16", "f32"]

    /// Loads a model.
    ///
    /// - Parameters:
    ///   - model: a Hugging Face directory, a `.gguf` file, or a name on a hub (`ORG/NAME`).
    ///   - adapter: a PEFT folder to put on top, or its name on a hub.
    ///   - baseStorage: one of ``storages``; auto keeps the file's own form.
    ///   - device: `cpu`, a card (`cuda:0`), or `auto`: the first card where there is one.
    ///   - threads: of the processor, at most 1,024; 0 takes as many as this process may use.
    ///   - environment: for names on a hub instead of paths, as in ``FineTuning/init(file:options:environment:)``.
    /// - Throws: where the model or the adapter cannot be read or do not belong together, for an unknown name of a storage or a device, where the device
    ///   fails, on a processor without AVX2 and FMA, and where the calling task was cancelled.
    public init(
        model: String, adapter: String? = nil, baseStorage: String = "auto", device: String = "auto", threads: Int = 0, environment: [String: String] = [:]
    ) async throws(LorikeetFailure) {
        try LorikeetFailure.result {
            try Machine.requireVectorInstructions()
            guard DeviceRequest.knows(device: device) else {
                throw LorikeetError.input("there is no device '\(device)'", at: "device", fix: "say auto, cpu or cuda:N")
            }
            guard Self.storages.contains(baseStorage) else {
                throw LorikeetError.input(
                    "there is no storage '\(baseStorage)'", at: "baseStorage", fix: "say one of \(Self.storages.joined(separator: ", "))")
            }
            guard (0...1024).contains(threads) else { throw LorikeetError.input("has to be between 0 and 1024", at: "threads", fix: "leave it out") }
        }.get()
        let executor = ThreadExecutor()
        let loaded = try await executor.make { isCancelled in
            let check = CancellationCheck(isCancelled: isCancelled)
            let locator = FineTuning.locator(environment, isCancelled)
            let (model, adapter) = (try locator.model(model).path, try adapter.map { try locator.adapter($0).path })
            try check()
            let compute = try DeviceRequest(device: device, threads: threads).open()
            compute.cpu.interruption = isCancelled
            let loaded = try AnsweringModel(model: model, adapter: adapter, baseStorage: baseStorage, compute: compute)
            compute.cpu.interruption = nil
            try check()
            return loaded
        }
        self.executor = executor
        warnings = loaded.warnings
        self.model = loaded
    }

    /// One answer, up to an end token, a stop word, or `maxNewTokens`.
    ///
    /// - Parameters:
    ///   - question: a text to continue, or messages.
    ///   - maxNewTokens: the most tokens that the answer may have, at least 1.
    ///   - sampling: how tokens are chosen; the default is always the likeliest.
    /// - Returns: the answer, with why it ended.
    /// - Throws: for options that are not allowed, for a prompt that cannot be read, is too long for the model, or has a token that the
    ///   model has no row for, where the model's logits are not finite numbers, and where the calling task was cancelled.
    public func answer(
        _ question: Question, maxNewTokens: Int, sampling: SamplingOptions = SamplingOptions()
    ) throws(LorikeetFailure) -> Answer {
        try answered(maxNewTokens) {
            try model.answer(to: question, maxNewTokens: maxNewTokens, sampling: sampling) { _ in !Task.isCancelled }
        }
    }

    /// Answers to several questions, computed together. Each answer is the one that the question gets alone, except for rounding: where two tokens
    /// are almost equally likely, the rounding of a batch can decide for the other one. Equal questions get different random numbers.
    ///
    /// - Parameters:
    ///   - questions: texts to continue, or messages.
    ///   - maxNewTokens: the most tokens that an answer may have, at least 1.
    ///   - sampling: how tokens are chosen; the default is always the likeliest.
    ///   - atATime: answers that are computed at a time, 1 to 1,024; each takes memory for its keys and values.
    /// - Returns: the answers in the questions' order.
    /// - Throws: as ``answer(_:maxNewTokens:sampling:)``; nothing is computed when one of the questions cannot be read.
    public func answers(
        _ questions: [Question], maxNewTokens: Int, sampling: SamplingOptions = SamplingOptions(), atATime: Int = 16
    ) throws(LorikeetFailure) -> [Answer] {
        try answered(maxNewTokens) {
            guard (1...1024).contains(atATime) else { throw LorikeetError.input("has to be between 1 and 1024", at: "atATime", fix: "leave it out") }
            return try model.answers(to: questions, maxNewTokens: maxNewTokens, sampling: sampling, atATime: atATime) { !Task.isCancelled }
        }
    }

    /// One answer piece by piece, as it is computed.
    ///
    /// The model computes at most 16 pieces more than were taken from the stream, and then waits, unless another call waits for the generator: then the
    /// answer is completed first, and the stream keeps its rest. Leaving the loop ends the answer.
    ///
    /// - Parameters:
    ///   - question: a text to continue, or messages.
    ///   - maxNewTokens: the most tokens that the answer may have, at least 1.
    ///   - sampling: how tokens are chosen; the default is always the likeliest.
    /// - Returns: the answer's pieces, and at the end the whole answer. The stream throws what ``answer(_:maxNewTokens:sampling:)`` throws.
    public nonisolated func stream(_ question: Question, maxNewTokens: Int, sampling: SamplingOptions = SamplingOptions()) -> AnswerStream {
        let channel = Channel<AnswerStream.Event, Void>()
        Task.detached { await self.fill(channel, question, maxNewTokens, sampling) }
        return AnswerStream(listening: Listening(channel))
    }

    private func fill(_ channel: Channel<AnswerStream.Event, Void>, _ question: Question, _ maxNewTokens: Int, _ sampling: SamplingOptions) {
        channel.finish(
            LorikeetFailure.result {
                guard !channel.isStopped else { throw Self.cancelled }
                let answer = try answered(maxNewTokens) {
                    try model.answer(to: question, maxNewTokens: maxNewTokens, sampling: sampling) { [executor] piece in
                        channel.send(.text(piece))
                        channel.waitForRoom(Self.piecesAhead) { executor.isAwaited }
                        return !channel.isStopped
                    }
                }
                if channel.isStopped, answer.ending == .interrupted { throw Self.cancelled }
                channel.send(.answer(answer))
            })
    }

    private static let piecesAhead = 16
    private static let cancelled = LorikeetError(.stoppedEarly, "the answer was cancelled before its end", fix: "ask again")

    /// What `body` computes, unless the task is cancelled before its end.
    private func answered<Result>(_ maxNewTokens: Int, _ body: () throws -> Result) throws(LorikeetFailure) -> Result {
        do {
            guard maxNewTokens >= 1 else { throw LorikeetError.input("has to be at least 1", at: "maxNewTokens", fix: "allow more tokens") }
            if Task.isCancelled { throw Self.cancelled }
            let result = try body()
            if Task.isCancelled { throw Self.cancelled }
            return result
        } catch {
            throw LorikeetFailure(error)
        }
    }
}
