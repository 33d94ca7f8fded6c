import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// A real model against numbers of the Hugging Face stack: token ids and losses of texts, prompts and greedy answers of chats.
///
/// The folder holds `expected.json` with `texts` (text, ids, loss, nf4_loss) and `chats` (messages, prompt, prompt_ids, greedy).
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
    }

    package func run() throws -> [Deviation] {
        let path = directory + "/expected.json"
        let expected = try JSON.parse(files.read(path), source: path)
        let source = try ModelSource.open(model, files: files)
        let tokenizer = try Tokenizer.load(from: source)
        var results: [Deviation] = []
        let texts = expected["texts"]?.array ?? []
        for (number, entry) in texts.enumerated() {
            let ids = tokenizer.encode(entry["text"]?.string ?? "").map(Int.init)
            results.append(Deviation(name: "text \(number): token ids", measured: ids == ints(entry["ids"]) ? 0 : 1, tolerance: 0))
        }
        results += try losses(texts, source, .stored, key: "loss", tolerance: Tolerance.loss)
        results += try losses(texts, source, .nf4, key: "nf4_loss", tolerance: Tolerance.nf4Loss)
        results += try chats(expected["chats"]?.array ?? [], source, tokenizer)
        return results
    }

    private func ints(_ json: JSON?) -> [Int] { (json?.array ?? []).compactMap(\.int) }

    private func losses(_ texts: [JSON], _ source: ModelSource, _ storage: BaseStorage, key: String, tolerance: Double) throws -> [Deviation] {
        let session = try Session(
            model: compute.model(source, storage: storage, lora: nil), sizes: SessionSizes(training: 0, evaluation: 128, headChunk: 128))
        return try texts.enumerated().compactMap { number, entry in
            guard let reference = entry[key]?.double else { return nil }
            let logs = try session.evaluate(TokenBatch(sequence: ints(entry["ids"]).map(Int32.init)))
            let loss = -logs.reduce(0) { $0 + Double($1) } / Double(max(1, logs.count))
            return Deviation(name: "text \(number): \(key), relative", measured: abs(loss - reference) / reference, tolerance: tolerance)
        }
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
            let ours = try session.generate(prompts: [ids], maxNewTokens: 24, endTokens: Set(tokenizer.endTokens))[0].map(Int.init)
            results += [
                Deviation(name: "chat \(number): prompt", measured: prompt == chat["prompt"]?.string ? 0 : 1, tolerance: 0),
                Deviation(name: "chat \(number): prompt ids", measured: ids.map(Int.init) == ints(chat["prompt_ids"]) ? 0 : 1, tolerance: 0),
                Deviation(name: "chat \(number): greedy continuation", measured: ours == greedy ? 0 : 1, tolerance: 0),
            ]
        }
        return results
    }
}
