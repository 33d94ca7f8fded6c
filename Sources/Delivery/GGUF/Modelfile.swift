import LorikeetDatasets
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers

/// Ollama's Modelfile of a GGUF that is written: the file, the chat template where it has a form in Go's text/template, the texts at which an answer
/// ends, and the model's sampling settings.
struct Modelfile {
    private let tokenizer: Tokenizer
    /// By the keys of `generation_config.json`.
    private let sampling: [(key: String, value: Double)]
    private let source: String

    /// - Parameter gguf: the written file, or its header.
    /// - Throws: exit 2 where its tokenizer or template cannot be read.
    init(_ gguf: GGUFFile) throws {
        tokenizer = try Tokenizer(gguf: gguf)
        sampling = Sidecar.sampling.compactMap { key, name in
            gguf.metadata["general.sampling.\(name)"]?.double.map { (key, Double("\(Float($0))") ?? $0) }
        }
        source = gguf.path
    }

    /// Ollama's names of sampling settings.
    private static let parameters = [
        "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "repetition_penalty": "repeat_penalty",
    ]

    /// - Parameter file: the GGUF's name in the Modelfile's folder.
    func text(for file: String) throws -> String {
        var lines = ["# ollama create NAME -f Modelfile", "FROM ./\(file)"]
        if let template = try template(), Self.canBeQuoted(template.text) {
            lines.append("TEMPLATE \"\"\"\(template.text)\"\"\"")
            if !template.hasSystem { lines.append("# The chat template has no place for a system message.") }
        } else {
            lines.append(
                tokenizer.chatTemplateSource == nil
                    ? "# The model has no chat template: it continues texts."
                    : "# The chat template has no form in Ollama's template language: newer versions of Ollama read the one in the GGUF.")
        }
        for end in tokenizer.endTokens.map(tokenizer.text(of:)) {
            // Another line would be another instruction.
            let stop = Self.canBeQuoted(end) && !end.contains(where: \.isNewline)
            lines.append(stop ? "PARAMETER stop \(Self.quoted(end))" : "# A token that ends an answer has line breaks or quotes, which cannot be written here.")
        }
        for (key, value) in sampling {
            guard let name = Self.parameters[key] else { continue }
            lines.append("PARAMETER \(name) \(value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : "\(value)")")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A Modelfile has no escape for three quotes.
    private static func canBeQuoted(_ text: String) -> Bool { !text.contains("\"\"\"") && !text.hasSuffix("\"") && !text.hasPrefix("\"") }

    private static func quoted(_ text: String) -> String { text.contains("\"") ? "\"\"\"\(text)\"\"\"" : "\"\(text)\"" }

    /// The Jinja template in Go's form; nil where there is none, or it writes the date.
    private func template() throws -> OllamaTemplate? {
        guard let source = tokenizer.chatTemplateSource else { return nil }
        func form(now: Double) throws -> OllamaTemplate? {
            let jinja = try ChatTemplate(source, name: "the chat template of \(self.source)", specialTokens: tokenizer.namedTokens, now: now)
            let beginning = tokenizer.addsBOS ? tokenizer.bos.map(tokenizer.text(of:)) : nil
            return OllamaTemplate(beginningOfSequence: beginning) { messages, prompt in
                let conversation = Conversation(messages: messages.map { ["role": .string($0.role), "content": .string($0.content)] })
                return try? jinja.render(conversation, addGenerationPrompt: prompt)
            }
        }
        let first = try form(now: 1_000_000_000)
        return try first == form(now: 1_500_000_000) ? first : nil
    }
}
