import LorikeetDatasets
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// The sidecar proof: the tokenizer and the template that stand beside the merged weights, loaded again from the written folder, are those that
/// the model was trained with.
package struct SidecarComparison: Sendable, Equatable {
    package var verdict: Verdict
    /// Texts that were tokenised by both.
    package var texts = 0
    /// What differs; nil where nothing does.
    package var difference: String?

    /// What the model was trained with.
    package struct Trained {
        package let tokenizer: Tokenizer
        package let template: ChatTemplate?
        /// The date that the template writes, in seconds since 1970; nil where it was given none.
        package let now: Double?

        package init(tokenizer: Tokenizer, template: ChatTemplate?, now: Double? = nil) {
            (self.tokenizer, self.template, self.now) = (tokenizer, template, now)
        }
    }

    /// Samples whose texts are compared, of either split.
    package static let mostSamples = 1000

    /// Reads the folder's tokenizer and compares: the text of every id, the ids of the data's texts, end tokens, tokens around every text, named
    /// tokens, and the rendered template.
    ///
    /// - Parameter samples: of the data; their tokens' text is what is tokenised.
    /// - Throws: exit 4 where the folder cannot be read.
    package init(of directory: String, trained: Trained, samples: some Sequence<TokenSample>, files: any Files) throws {
        do {
            let written = try Tokenizer(directory: directory, files: files)
            var count = 0
            difference = try Self.difference(trained, written, samples, &count)
            texts = count
            verdict = difference != nil ? .fail : count > 0 ? .pass : .notTested
        } catch let error as LorikeetError where error.exit == .unusableInput {
            (verdict, difference) = (.fail, "the folder's tokenizer cannot be loaded: \(error.description)")
        }
    }

    /// The same for a model whose files are open: a GGUF, whose tokenizer says of what stands around a text only whether it begins and ends with
    /// the named tokens.
    package init(of written: ModelFiles, trained: Trained, samples: some Sequence<TokenSample>, files: any Files) throws {
        do {
            let tokenizer = try Tokenizer.load(from: written, files: files)
            var count = 0
            difference = try Self.difference(trained, tokenizer, samples, &count, isGGUF: written.gguf != nil)
            texts = count
            verdict = difference != nil ? .fail : count > 0 ? .pass : .notTested
        } catch let error as LorikeetError where error.exit == .unusableInput {
            (verdict, difference) = (.fail, "the file's tokenizer cannot be loaded: \(error.description)")
        }
    }

    private static func difference(
        _ trained: Trained, _ written: Tokenizer, _ samples: some Sequence<TokenSample>, _ count: inout Int, isGGUF: Bool = false
    ) throws -> String? {
        let tokenizer = trained.tokenizer
        guard tokenizer.endTokens == written.endTokens else {
            return "the tokens that end an answer are \(words(written.endTokens, written)) and not \(words(tokenizer.endTokens, tokenizer))"
        }
        let around = [
            ("before", tokenizer.prefix, written.prefix, tokenizer.addsBOS == written.addsBOS),
            ("behind", tokenizer.suffix, written.suffix, tokenizer.addsEOS == written.addsEOS),
        ]
        for (name, own, other, same) in around where own != other && !(isGGUF && same) {
            return "the tokens \(name) every text are \(words(other, written)) and not \(words(own, tokenizer))"
        }
        let (named, other) = (tokenizer.namedTokens, written.namedTokens)
        if let name = Set(named.keys).union(other.keys).sorted().first(where: { named[$0] != other[$0] }) {
            return "'\(name)' is '\(other[name] ?? "nothing")' and not '\(named[name] ?? "nothing")'"
        }
        let sizes = (tokenizer.vocabularySize, written.vocabularySize)
        for id in 0..<Int32(clamping: min(sizes.0, sizes.1)) where !(isGGUF && tokenizer.text(of: id).isEmpty) && tokenizer.decode([id]) != written.decode([id])
        {
            return "token \(id) is '\(written.decode([id]))' and not '\(tokenizer.decode([id]))'"
        }
        for sample in samples {
            let text = tokenizer.decode(sample.ids)
            guard try tokenizer.encode(text) == written.encode(text) else { return "the ids of a text of the data differ: '\(text.prefix(80))'" }
            count += 1
        }
        return try templateDifference(trained, written)
    }

    private static func words(_ ids: [Int32], _ tokenizer: Tokenizer) -> String { ids.map { "'\(tokenizer.text(of: $0))'" }.joined(separator: ", ") }

    /// Conversations that a template may treat in different ways.
    private static let conversations: [[(role: String, content: String)]] = [
        [("user", "What is an otter?")], [("system", "Answer in one word."), ("user", "What is an otter?")],
        [("user", " What is\nan otter? "), ("assistant", "A mammal."), ("user", "And an eel?")],
    ]

    private static func templateDifference(_ trained: Trained, _ written: Tokenizer) throws -> String? {
        guard let source = written.chatTemplateSource else { return trained.template == nil ? nil : "the folder has no chat template" }
        guard let template = trained.template else { return "the folder has a chat template, and none was used" }
        let other = try ChatTemplate(source, name: "the merged folder's chat template", specialTokens: written.namedTokens, now: trained.now)
        for messages in conversations {
            let conversation = Conversation(messages: messages.map { ["role": .string($0.role), "content": .string($0.content)] })
            for prompt in [true, false] where text(template, conversation, prompt) != text(other, conversation, prompt) {
                return "the chat template gives another text for '\(messages.last?.content ?? "")'"
            }
        }
        return nil
    }

    /// The rendered text, or the template's refusal: some have no place for a system message.
    private static func text(_ template: ChatTemplate, _ conversation: Conversation, _ prompt: Bool) -> String {
        do { return try template.render(conversation, addGenerationPrompt: prompt) } catch { return "refused" }
    }

    /// What summary.json holds.
    package var json: JSON { ["pass": verdict.json, "texts": JSON(texts), "difference": difference.map { .string($0) } ?? .null] }

    /// What stands behind the verdict in the report.
    package var words: String {
        difference ?? (texts > 0 ? "the written folder gives the same tokens on \(texts) texts, the same ends and the same template" : "no texts compared")
    }
}
