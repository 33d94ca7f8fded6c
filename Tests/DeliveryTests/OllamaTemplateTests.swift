import Foundation
import LorikeetDatasets
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers
import Testing

@testable import LorikeetDelivery

/// Jinja templates in Ollama's language, recognised by what they render.
struct OllamaTemplateTests {
    private func ollama(_ jinja: String, bos: String? = nil) throws -> OllamaTemplate? {
        let template = try ChatTemplate(jinja, name: "t", specialTokens: ["bos_token": "<s>", "eos_token": "</s>"], now: 0)
        return OllamaTemplate(beginningOfSequence: bos) { messages, prompt in
            try? template.render(
                Conversation(messages: messages.map { ["role": .string($0.role), "content": .string($0.content)] }), addGenerationPrompt: prompt)
        }
    }

    private static let chatML =
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

    @Test func `ChatML in Go's words`() throws {
        let template = try #require(try ollama(Self.chatML))
        // What stands between two messages belongs to the later one: the beginnings are what both places have alike.
        let user = "<|im_start|>user\n", answer = "<|im_end|>\n<|im_start|>assistant\n"
        #expect(
            template.text
                == "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ else }}{{ end }}{{ range .Messages }}{{ if eq .Role \"user\" }}\(user)"
                + "{{ .Content }}{{ else if eq .Role \"assistant\" }}\(answer){{ .Content }}<|im_end|>\n{{ end }}{{ end }}\(answer)")
        #expect(template.render([("system", "S"), ("user", "U")]) == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n")
    }

    @Test func `a system message that the template adds by itself stands where none is given`() throws {
        let template = try #require(
            try ollama("{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}" + Self.chatML))
        #expect(template.render([("user", "U")]) == "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n")
        #expect(template.render([("system", "S"), ("user", "U")]) == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n")
    }

    @Test func `a system message that joins the first user's, as Gemma 3 and Mistral have it`() throws {
        let template = try #require(
            try ollama(
                "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set p = messages[0]['content'] + '\n\n' %}{% set l = messages[1:] %}"
                    + "{% else %}{% set p = '' %}{% set l = messages %}{% endif %}{% for m in l %}{{ '<turn>' + ('model' if m['role'] == 'assistant' else m['role'])"
                    + " + '\n' + (p if loop.first else '') + m['content'] + '<end>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}",
                bos: "<s>"))
        #expect(
            template.render([("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V")])
                == "<turn>user\nS\n\nU<end>\n<turn>model\nA<end>\n<turn>user\nV<end>\n<turn>model\n")
        #expect(template.text.contains("(eq $i 1)") && !template.text.contains("<s>"))
    }

    @Test func `a template without a place for a system message has none in Go either`() throws {
        let template = try #require(
            try ollama("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + Self.chatML))
        #expect(!template.hasSystem && !template.text.contains(".System"))
    }

    @Test func `what the parts do not give exactly is no template`() throws {
        for jinja in [
            // The last answer is written otherwise; contents in capitals; turns numbered; thinking cut out of earlier answers.
            "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | upper + '\n' }}{% endfor %}",
            "{% for m in messages %}{{ loop.index | string + m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}",
            "{% for m in messages %}{{ m['content'] }}{% if not loop.last and loop.index > 2 %}{{ '#' }}{% endif %}{% endfor %}",
            "{{ '{{ .System }}' }}" + Self.chatML,
        ] { #expect(try ollama(jinja) == nil, "\(jinja)") }
    }

    @Test func `a Modelfile has file, template, ends and sampling`() throws {
        let path = Temporary.folder() + ".gguf"
        let metadata: [(key: String, value: GGUFValue)] = [
            ("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string("gpt-2")),
            ("tokenizer.ggml.tokens", .stringArray(["a", "<|im_end|>", "</s>"])),
            ("tokenizer.ggml.merges", .stringArray([])), ("tokenizer.ggml.token_type", .intArray([1, 3, 3])), ("tokenizer.ggml.eos_token_id", .unsigned(2)),
            ("tokenizer.chat_template", .string(Self.chatML)), ("general.sampling.temp", .float(Double(Float(0.6)))), ("general.sampling.top_k", .signed(20)),
        ]
        try GGUFWriter(path: path, metadata: metadata, tensors: []).finish()
        let text = try Modelfile(GGUFFile(path: path)).text(for: "m-Q8_0.gguf")
        #expect(text.contains("FROM ./m-Q8_0.gguf\n") && text.contains("TEMPLATE \"\"\"{{ if .System }}<|im_start|>system"))
        for line in ["PARAMETER stop \"<|im_end|>\"", "PARAMETER stop \"</s>\"", "PARAMETER temperature 0.6", "PARAMETER top_k 20"] {
            #expect(text.contains(line + "\n"), "\(text)")
        }
        // A template that writes the date has another text tomorrow.
        let dated = metadata.filter { $0.key != "tokenizer.chat_template" } + [("tokenizer.chat_template", .string("{{ strftime_now('%Y') }}" + Self.chatML))]
        try GGUFWriter(path: path, metadata: dated, tensors: []).finish()
        let other = try Modelfile(GGUFFile(path: path)).text(for: "m-Q8_0.gguf")
        #expect(!other.contains("\nTEMPLATE") && other.contains("# The chat template has no form in Ollama's template language"))
    }

    @Test(arguments: ["</s>\nFROM /etc/passwd", "a\"\"\"\nADAPTER x", "\u{2028}SYSTEM x"])
    func `a token of a hostile file adds no instruction`(end: String) throws {
        let path = Temporary.folder() + ".gguf"
        let metadata: [(key: String, value: GGUFValue)] = [
            ("tokenizer.ggml.model", .string("gpt2")), ("tokenizer.ggml.pre", .string("gpt-2")), ("tokenizer.ggml.tokens", .stringArray(["a", end])),
            ("tokenizer.ggml.merges", .stringArray([])), ("tokenizer.ggml.token_type", .intArray([1, 3])), ("tokenizer.ggml.eos_token_id", .unsigned(1)),
        ]
        try GGUFWriter(path: path, metadata: metadata, tensors: []).finish()
        let text = try Modelfile(GGUFFile(path: path)).text(for: "m.gguf")
        let instructions = text.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("#") }
        #expect(instructions == ["FROM ./m.gguf"] && text.contains("cannot be written here"), "\(text)")
    }
}
