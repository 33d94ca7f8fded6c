import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// A real model against numbers of the Hugging Face stack: token ids and losses of texts, prompts and greedy answers of chats.
///
/// The folder holds `expected.json` with `texts` (text, ids, loss, nf4_loss) and `chats` (messages, prompt, prompt_ids, greedy). A card's
/// gradients are held to the processor's, for the folder has none.
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

    package func run() throws -> [Deviation] {
        let path = directory + "/expected.json"
        let expected = try JSON.parse(files.read(path), source: path)
        let source = try ModelSource.open(model, files: files)
        let tokenizer = try Tokenizer.load(from: source.files)
        var results: [Deviation] = []
        let texts = expected["texts"]?.array ?? []
        for (number, entry) in texts.enumerated() {
            let ids = tokenizer.encode(entry["text"]?.string ?? "").map(Int.init)
            results.append(Deviation(name: "text \(number): token ids", measured: ids == ints(entry["ids"]) ? 0 : 1, tolerance: 0))
        }
        results += try losses(texts, source, .stored, key: "loss", tolerance: Tolerance.loss)
        results += try losses(texts, source, .nf4, key: "nf4_loss", tolerance: Tolerance.nf4Loss)
        results += try chats(expected["chats"]?.array ?? [], source, tokenizer)
        if compute.device != nil {
            results += try CardGradientCheck(source: source, texts: texts.map { ints($0["ids"]) }, compute: compute).run()
        }
        return results
    }

    private func ints(_ json: JSON?) -> [Int] { (json?.array ?? []).compactMap(\.int) }

    /// Each text's loss in float32; in 16 bits that of all of them, for a few words' alone is mostly rounding.
    private func losses(_ texts: [JSON], _ source: ModelSource, _ storage: BaseStorage, key: String, tolerance: Double) throws -> [Deviation] {
        let session = try Session(
            model: compute.model(source, storage: storage, lora: nil), sizes: SessionSizes(training: 0, evaluation: 128, headChunk: 128))
        var (results, ours, theirs): ([Deviation], Double, Double) = ([], 0, 0)
        for (number, entry) in texts.enumerated() {
            guard let reference = entry[key]?.double else { continue }
            let logs = try session.evaluate(TokenBatch(sequence: ints(entry["ids"]).map(Int32.init)))
            let sum = -logs.reduce(0) { $0 + Double($1) }
            let loss = sum / Double(max(1, logs.count))
            results.append(Deviation(name: "text \(number): \(key), relative", measured: abs(loss - reference) / reference, tolerance: tolerance))
            ours += sum
            theirs += reference * Double(logs.count)
        }
        if isExact { return results }
        return [Deviation(name: "all texts: \(key), relative", measured: abs(ours - theirs) / theirs, tolerance: Tolerance.narrow(compute.element).loss)]
    }

    private func chats(_ chats: [JSON], _ source: ModelSource, _ tokenizer: Tokenizer) throws -> [Deviation] {
        guard let text = tokenizer.chatTemplateSource else { throw LorikeetError.input("the model has no chat template", at: model) }
        let template = try ChatTemplate(text, name: "chat template of \(model)", specialTokens: tokenizer.namedTokens)
        let session = try Session(
            model: compute.model(source, storage: .stored, lora: nil), sizes: SessionSizes(training: 0, evaluation: 128, headChunk: 32))
        var results: [Deviation] = []
        for (number, chat) in chats.enumerated() {
            let messages = (chat["messages"]?.array ?? []).map { ChatMessage(role: $0["role"]?.string ?? "", content: $0["content"]?.string ?? "") }
            let prompt = try template.render(messages, addGenerationPrompt: true)
            let ids = tokenizer.encode(prompt)
            let greedy = ints(chat["greedy"])
            results += [
                Deviation(name: "chat \(number): prompt", measured: prompt == chat["prompt"]?.string ? 0 : 1, tolerance: 0),
                Deviation(name: "chat \(number): prompt ids", measured: ids.map(Int.init) == ints(chat["prompt_ids"]) ? 0 : 1, tolerance: 0),
            ]
            if isExact {
                let ours = try session.generate(prompts: [ids], maxNewTokens: 24, endTokens: Set(tokenizer.endTokens))[0].map(Int.init)
                results.append(Deviation(name: "chat \(number): greedy continuation", measured: ours == greedy ? 0 : 1, tolerance: 0))
            } else {
                results.append(try gap("chat \(number): greedy continuation, below the best logit", ids, greedy.map(Int32.init), session))
            }
        }
        return results
    }

    /// Rounding may prefer another word where two are almost equal, and what follows is another text: so the reference's words are given,
    /// and each of them has to be almost the best.
    private func gap(_ name: String, _ prompt: [Int32], _ answer: [Int32], _ session: Session) throws -> Deviation {
        let batch = TokenBatch(sequence: prompt + answer)
        let first = max(1, prompt.count) - 1
        let logits = try session.logits(batch, rows: Array(first..<first + answer.count))
        guard !answer.isEmpty else { return Deviation(name: name, measured: 0, tolerance: 0) }
        let vocabulary = logits.count / answer.count
        var (worst, largest) = (0.0, 0.0)
        for (number, token) in answer.enumerated() {
            guard token >= 0, token < vocabulary else { return Deviation(name: name, measured: .infinity, tolerance: 0) }
            let row = logits[(number * vocabulary)..<((number + 1) * vocabulary)]
            let best = row.max() ?? 0
            worst = max(worst, Double(best - row[row.startIndex + Int(token)]))
            largest = max(largest, Double(row.reduce(0) { max($0, abs($1)) }))
        }
        return Deviation(name: name, measured: worst / max(largest, 1e-30), tolerance: Tolerance.narrow(compute.element).logit)
    }
}
