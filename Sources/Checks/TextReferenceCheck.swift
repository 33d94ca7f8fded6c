import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// A real model against numbers of the Hugging Face stack: token ids and losses of texts, greedy answers to chats or continuations of texts.
///
/// The folder holds `expected.json` with `texts` (text, ids, and the losses that there are: see `LossKind`), `chats` (messages, prompt,
/// prompt_ids, greedy) and `continuations` (prompt, prompt_ids, greedy); of the last two one is enough. Every loss, chat and continuation in
/// it is compared. A card's gradients are held to the processor's, for the folder has none.
package struct TextReferenceCheck {
    let directory: String
    let model: String
    let files: any Files
    let compute: Compute

    package init(directory: String, model: String, files: any Files = RealFiles(), compute: Compute) {
        self.directory = directory
        self.model = model
        self.files = files
        self.compute = compute
    }

    /// Does the folder hold texts rather than a model?
    package static func fits(_ directory: String, files: any Files = RealFiles()) -> Bool {
        let path = directory + "/expected.json"
        guard files.exists(path), let json = try? JSON.parse(files.read(path), source: path) else { return false }
        return json["texts"] != nil
    }

    package enum Tolerance {
        package static let loss = 1e-4
        package static let nf4Loss = 1e-3

        /// In 16 bits the loss may be off by so much (relative), and a logit of the answer may be so far below the best one, of the largest.
        package static func narrow(_ element: DeviceElement) -> (loss: Double, logit: Double) {
            element == .bf16 ? (5e-3, 2e-2) : (5e-4, 2e-3)
        }
    }

    private var isExact: Bool { compute.element == .f32 }

    private var path: String { directory + "/expected.json" }

    /// A mean loss over a text's tokens that the folder may give.
    private enum LossKind: String, CaseIterable {
        /// Of the text's ids alone, and with the blocks' linears rounded to NF4.
        case plain = "loss"
        case nf4 = "nf4_loss"
        /// Of the ids behind a beginning-of-sequence token, as models need it that were never trained without.
        case withBOS = "loss_with_bos"

        var storage: BaseStorage { self == .nf4 ? .nf4 : .stored }
        var tolerance: Double { self == .nf4 ? Tolerance.nf4Loss : Tolerance.loss }
    }

    /// - Returns: the deviations; what the folder lacks as a whole (texts with a loss, greedy answers) is not tested, and named.
    /// - Throws: exit 2 for entries that lack something, for ids that the model's tables do not have; exit 4 when the device fails.
    package func run() throws -> CheckReport {
        let expected = try JSON.parse(files.read(path), source: path)
        let source = try ModelSource.open(model, files: files)
        let tokenizer = try Tokenizer.load(from: source.files)
        var report = CheckReport()
        let list = expected["texts"]?.array ?? []
        let texts = try list.enumerated().map { number, entry in
            Text(
                text: try string(entry["text"], "texts[\(number)].text"), ids: try ids(entry["ids"], "texts[\(number)].ids", source, tokenizer),
                numbers: entry)
        }
        for (number, entry) in texts.enumerated() {
            let same = try tokenizer.encode(entry.text) == entry.ids
            report.results.append(Deviation(name: "text \(number): token ids", measured: same ? 0 : 1, tolerance: 0))
        }
        var measured = 0
        let kinds = LossKind.allCases.filter { kind in texts.contains { $0.numbers[kind.rawValue] != nil } }
        for kind in kinds {
            let results = try losses(texts, kind, source, tokenizer)
            measured += results.count
            report.results += results
        }
        if measured == 0 { report.notTested.append(.init("losses of texts", "\(path) has no text of two tokens with a loss")) }
        let (chats, continuations) = (expected["chats"]?.array ?? [], expected["continuations"]?.array ?? [])
        if chats.isEmpty, continuations.isEmpty {
            report.notTested.append(.init("prompts and greedy answers", "\(path) has no chats and no continuations"))
        }
        if !chats.isEmpty { report.results += try self.chats(chats, source, tokenizer) }
        if !continuations.isEmpty { report.results += try self.continuations(continuations, source, tokenizer) }
        if compute.device != nil {
            let first = try beginning(kinds.contains(.withBOS) ? .withBOS : .plain, tokenizer)
            report.results += try CardGradientCheck(source: source, texts: texts.map(\.ids), beginning: first, compute: compute).run()
        }
        return report
    }

    private struct Text {
        let text: String
        let ids: [Int32]
        /// The entry, for its losses.
        let numbers: JSON
    }

    private func string(_ json: JSON?, _ name: String) throws -> String {
        guard let text = json?.string else { throw LorikeetError.input("'\(name)' is not text", at: path, fix: "make the folder again") }
        return text
    }

    /// Token ids that the model's tables have.
    private func ids(_ json: JSON?, _ name: String, _ source: ModelSource, _ tokenizer: Tokenizer) throws -> [Int32] {
        guard let list = json?.array else { throw LorikeetError.input("'\(name)' is not a list of token ids", at: path, fix: "make the folder again") }
        let ids = try list.map { item in
            guard let id = item.int.flatMap({ Int32(exactly: $0) }) else {
                throw LorikeetError.input("'\(name)' holds \(item.serialized()), which is no token id", at: path, fix: "make the folder again")
            }
            return id
        }
        try tokenizer.requireRows(for: ids, rows: source.configuration.vocabularySize, at: "\(path), \(name)")
        return ids
    }

    /// What stands before a text's ids in a kind of loss: the beginning-of-sequence token, or nothing.
    private func beginning(_ kind: LossKind, _ tokenizer: Tokenizer) throws -> [Int32] {
        guard kind == .withBOS else { return [] }
        guard let bos = tokenizer.bos else {
            throw LorikeetError.input("the model's tokenizer names no beginning-of-sequence token, which '\(kind.rawValue)' needs", at: model)
        }
        return [bos]
    }

    /// Each text's loss in float32; in 16 bits that of all of them, for a few words' alone is mostly rounding.
    private func losses(_ texts: [Text], _ kind: LossKind, _ source: ModelSource, _ tokenizer: Tokenizer) throws -> [Deviation] {
        let key = kind.rawValue
        let first = try beginning(kind, tokenizer)
        // A single token predicts nothing.
        let samples = texts.enumerated().map { (number: $0, ids: first + $1.ids, numbers: $1.numbers) }.filter { $0.ids.count > 1 }
        let session = try session(source, kind.storage, longest: samples.map(\.ids.count).max() ?? 0, headChunk: 128)
        var (results, ours, theirs): ([Deviation], Double, Double) = ([], 0, 0)
        for sample in samples {
            guard let reference = sample.numbers[key]?.double else {
                throw LorikeetError.input("'texts[\(sample.number)].\(key)' is not a number", at: path, fix: "make the folder again")
            }
            let logs = try session.evaluate(TokenBatch(sequence: sample.ids))
            let sum = -logs.reduce(0) { $0 + Double($1) }
            let loss = sum / Double(max(1, logs.count))
            results.append(
                Deviation(name: "text \(sample.number): \(key), relative", measured: Vectors.relative(loss, to: reference), tolerance: kind.tolerance))
            ours += sum
            theirs += reference * Double(logs.count)
        }
        if isExact || results.isEmpty { return results }
        return [
            Deviation(name: "all texts: \(key), relative", measured: Vectors.relative(ours, to: theirs), tolerance: Tolerance.narrow(compute.element).loss)
        ]
    }

    /// A session of the model without adapters, for evaluation and answers of up to `longest` tokens (128 at least).
    private func session(_ source: ModelSource, _ storage: BaseStorage, longest: Int, headChunk: Int) throws -> Session {
        try Session(
            model: compute.model(source, storage: storage, lora: nil),
            sizes: SessionSizes(training: 0, evaluation: max(128, longest), headChunk: headChunk))
    }

    /// The model's own continuations of texts, behind a beginning-of-sequence token where the tokenizer's file asks for one.
    private func continuations(_ entries: [JSON], _ source: ModelSource, _ tokenizer: Tokenizer) throws -> [Deviation] {
        let session = try session(source, .stored, longest: 0, headChunk: 32)
        var results: [Deviation] = []
        for (number, entry) in entries.enumerated() {
            let place = "continuations[\(number)]"
            let bos = tokenizer.addsBOS ? tokenizer.bos.map { [$0] } ?? [] : []
            let prompt = try bos + tokenizer.encode(string(entry["prompt"], "\(place).prompt"))
            let wanted = try ids(entry["prompt_ids"], "\(place).prompt_ids", source, tokenizer)
            let greedy = try ids(entry["greedy"], "\(place).greedy", source, tokenizer)
            results += try greedyAnswer("continuation \(number)", (ours: prompt, wanted: wanted), greedy, session, tokenizer)
        }
        return results
    }

    /// Whether a prompt has the reference's ids, and the model's answer to it.
    private func greedyAnswer(
        _ name: String, _ prompt: (ours: [Int32], wanted: [Int32]), _ greedy: [Int32], _ session: Session, _ tokenizer: Tokenizer
    ) throws -> [Deviation] {
        guard !prompt.wanted.isEmpty, !greedy.isEmpty, !prompt.ours.isEmpty else {
            throw LorikeetError.input("'\(name)' has no prompt or no answer", at: path, fix: "make the folder again")
        }
        return [
            Deviation(name: "\(name): prompt ids", measured: prompt.ours == prompt.wanted ? 0 : 1, tolerance: 0),
            isExact
                ? try continuation("\(name): greedy continuation", prompt.ours, greedy, session, Set(tokenizer.endTokens))
                : try gap("\(name): greedy continuation, below the best logit", prompt.ours, greedy, session),
        ]
    }

    private func chats(_ chats: [JSON], _ source: ModelSource, _ tokenizer: Tokenizer) throws -> [Deviation] {
        guard let text = tokenizer.chatTemplateSource else { throw LorikeetError.input("the model has no chat template", at: model) }
        let template = try ChatTemplate(text, name: "chat template of \(model)", specialTokens: tokenizer.namedTokens)
        let session = try session(source, .stored, longest: 0, headChunk: 32)
        var results: [Deviation] = []
        for (number, chat) in chats.enumerated() {
            let place = "chats[\(number)]"
            let messages = try (chat["messages"]?.array ?? []).enumerated().map { turn, message in
                let name = "\(place).messages[\(turn)]"
                return ChatMessage(role: try string(message["role"], name + ".role"), content: try string(message["content"], name + ".content"))
            }
            let prompt = try template.render(messages, addGenerationPrompt: true)
            let wanted = try ids(chat["prompt_ids"], "\(place).prompt_ids", source, tokenizer)
            let greedy = try ids(chat["greedy"], "\(place).greedy", source, tokenizer)
            let encoded = try tokenizer.encode(prompt)
            try tokenizer.requireRows(for: encoded, rows: source.configuration.vocabularySize, at: "\(path), \(place).messages")
            results.append(Deviation(name: "chat \(number): prompt", measured: try prompt == string(chat["prompt"], "\(place).prompt") ? 0 : 1, tolerance: 0))
            results += try greedyAnswer("chat \(number)", (ours: encoded, wanted: wanted), greedy, session, tokenizer)
        }
        return results
    }

    /// The session's own answer, which has to be the reference's.
    private func continuation(_ name: String, _ prompt: [Int32], _ answer: [Int32], _ session: Session, _ ends: Set<Int32>) throws -> Deviation {
        do {
            let ours = try session.generate(prompts: [prompt], maxNewTokens: 24, endTokens: ends)[0]
            return Deviation(name: name, measured: ours == answer ? 0 : 1, tolerance: 0)
        } catch let error as LorikeetError where error.exit == .checkFailed {
            return Deviation(name: "\(name): \(error.what)", measured: .infinity, tolerance: 0)
        }
    }

    /// Rounding may prefer another word where two are almost equal, and what follows is another text: so the reference's words are given,
    /// and each of them has to be almost the best.
    private func gap(_ name: String, _ prompt: [Int32], _ answer: [Int32], _ session: Session) throws -> Deviation {
        let batch = TokenBatch(sequence: prompt + answer)
        let first = max(1, prompt.count) - 1
        let logits = try session.logits(batch, rows: Array(first..<first + answer.count))
        guard logits.allSatisfy(\.isFinite) else { return Deviation(name: name, measured: .infinity, tolerance: 0) }
        let vocabulary = logits.count / answer.count
        var (worst, largest) = (0.0, 0.0)
        for (number, token) in answer.enumerated() {
            let row = logits[(number * vocabulary)..<((number + 1) * vocabulary)]
            let best = row.max() ?? 0
            worst = max(worst, Double(best - row[row.startIndex + Int(token)]))
            largest = max(largest, Double(row.reduce(0) { max($0, abs($1)) }))
        }
        return Deviation(name: name, measured: worst / max(largest, 1e-30), tolerance: Tolerance.narrow(compute.element).logit)
    }
}
