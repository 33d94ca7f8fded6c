import Foundation
import LorikeetGround
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// Where a chat template comes from, and the built-in ones.
@Suite struct TemplateChoiceTests {
    private func text(_ source: String, _ messages: [(String, String)], prompt: Bool) throws -> String {
        try ChatTemplate(source, name: "t", specialTokens: ["bos_token": "<s>", "eos_token": "</s>"])
            .render(messages.map { ChatMessage(role: $0.0, content: $0.1) }, addGenerationPrompt: prompt)
    }

    /// A built-in format beside a published template of it.
    @Test(arguments: [
        ("llama-3", "templates/llama3.jinja", true), ("gemma", "chat/trl/gemma3.jinja", true), ("phi-3", "chat/trl/phi3.jinja", true),
        ("zephyr", "templates/zephyr.jinja", true), ("gemma", "chat/trl/gemma.jinja", false),
    ])
    func `a built-in template writes what the published template of its format writes`(name: String, published: String, hasSystem: Bool) throws {
        let builtIn = try #require(ChatTemplate.named(name))
        let source = try Fixture.text(published)
        let turns = [("user", " Hi \n"), ("assistant", "Hello é\n\n1"), ("user", "Bye"), ("assistant", "b")]
        for count in 1...4 {
            let messages = (hasSystem && count > 2 ? [("system", "Be brief.")] : []) + turns.prefix(count)
            let prompt = count % 2 == 1
            #expect(try text(builtIn.source, messages, prompt: prompt) == text(source, messages, prompt: prompt))
        }
    }

    @Test func `the built-in formats without a published file beside them are as documented`() throws {
        let messages = [("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V")]
        func made(_ name: String) throws -> String { try text(#require(ChatTemplate.named(name)).source, messages, prompt: true) }
        #expect(
            try made("chatml")
                == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"
        )
        #expect(try made("mistral") == "<s>[INST] S\n\nU[/INST] A</s>[INST] V[/INST]")
        #expect(try made("alpaca") == "<s>S\n\n### Instruction:\nU\n\n### Response:\nA</s>\n\n### Instruction:\nV\n\n### Response:\n")
        #expect(
            try made("phi-4")
                == "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>U<|im_end|><|im_start|>assistant<|im_sep|>A<|im_end|><|im_start|>user<|im_sep|>V<|im_end|><|im_start|>assistant<|im_sep|>"
        )
        let alpaca = try #require(ChatTemplate.named("alpaca"))
        #expect(
            try text(alpaca.source, [("user", "U")], prompt: true)
                == "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nU\n\n### Response:\n"
        )
    }

    @Test(arguments: ChatTemplate.builtInNames)
    func `a built-in template trains each answer with its end of turn and nothing else`(name: String) throws {
        let builtIn = try #require(ChatTemplate.named(name))
        let template = try ChatTemplate(builtIn.source, name: name, specialTokens: ["bos_token": "<s>", "eos_token": "</s>"])
        let messages: [JSON] = ["user", "assistant", "user", "assistant"].enumerated().map { ["role": .string($1), "content": .string("text \($0)")] }
        let end = builtIn.endOfTurn ?? "</s>"
        let made = try template.renderWithAnswers(Conversation(messages: messages), trained: [1, 3], endTexts: [end])
        let bytes = Array(made.text.utf8)
        let space = name == "mistral" ? " " : ""
        #expect(made.answers.map { String(decoding: bytes[$0.range], as: UTF8.self) } == ["\(space)text 1\(end)", "\(space)text 3\(end)"])
        #expect(made.answers.map(\.endsWithEndToken) == [true, true])
        // The generation prompt leads exactly to the answer.
        let asked = try template.render(Conversation(messages: Array(messages.prefix(3))), addGenerationPrompt: true)
        #expect(made.text.utf8.prefix(made.answers[1].range.lowerBound).elementsEqual(asked.utf8))
    }

    @Test func `tokens that a format needs and a tokenizer lacks are told`() throws {
        let tokenizer = try Tokenizer(json: Fixture.json("tokenizers/llama3.json"), source: "llama3.json")
        let missing = try #require(ChatTemplate.named("phi-4")).missingTokens(in: tokenizer)
        #expect(missing.contains("<|im_sep|>"))
        #expect(try #require(ChatTemplate.named("alpaca")).missingTokens(in: tokenizer).isEmpty)
    }

    @Test func `a directory's templates are found as transformers finds them`() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "lorikeet-templates-\(UUID())")
        try FileManager.default.createDirectory(at: directory.appending(path: "additional_chat_templates"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        func write(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: directory.appending(path: name)) }
        func sources(_ settings: JSON?) throws -> ChatTemplateSources {
            try ChatTemplateSources(directory: directory.path, settings: settings, files: RealFiles())
        }
        #expect(try sources(nil).standard == nil)
        try write("chat_template.json", #"{"chat_template": "old"}"#)
        #expect(try sources(nil).standard == "old")
        #expect(try sources(["chat_template": "own"]).standard == "own")
        let list: JSON = ["chat_template": [["name": "default", "template": "d"], ["name": "tool_use", "template": "t"], ["name": "rag", "template": "r"]]]
        #expect(try sources(list).names == ["default", "rag", "tool_use"])
        #expect(try sources(list).toolUse == "t")
        #expect(throws: LorikeetError.self) { try sources(["chat_template": 5]) }
        #expect(throws: LorikeetError.self) { try sources(["chat_template": [["name": "default"]]]) }
        try write("chat_template.jinja", "file")
        try write("additional_chat_templates/tool_use.jinja", "more")
        try write("additional_chat_templates/notes.txt", "no template")
        #expect(try sources(list).templates == ["default": "file", "tool_use": "more"])
    }

    @Test func `a recipe chooses a file, a name of the model's or a built-in name, and a wrong name is told what there is`() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "lorikeet-choice-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        func write(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: directory.appending(path: name)) }
        try write("tokenizer.json", Fixture.text("tokenizers/llama2.json"))
        try write(
            "tokenizer_config.json",
            #"{"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}, {"name": "rag", "template": "rag"}]}"#
        )
        try write("own.jinja", "from a file {{ strftime_now('%Y') }}")
        let tokenizer = try Tokenizer(directory: directory.path)
        func made(_ wanted: String?, tools: JSON? = nil) throws -> String? {
            try ChatTemplate.choose(wanted, for: tokenizer, model: "m", now: 0).template?
                .render(Conversation(messages: [], tools: tools), addGenerationPrompt: false)
        }
        #expect(try made(nil) == "plain")
        #expect(try made(nil, tools: [["a": 1]]) == "1 tools")
        #expect(try made("rag", tools: [["a": 1]]) == "rag")
        #expect(try made(directory.path + "/own.jinja") == "from a file 1970")
        #expect(try ChatTemplate.choose("chatml", for: tokenizer, model: "m", now: nil).builtIn?.endOfTurn == "<|im_end|>")
        let error = #expect(throws: LorikeetError.self) { try made("chat-ml") }
        #expect(error?.fix?.contains("rag") == true && error?.fix?.contains("chatml, llama-3") == true)
        #expect(throws: LorikeetError.self) { try made("./missing.jinja") }
        try write("tokenizer_config.json", #"{"chat_template": [{"name": "a", "template": "1"}, {"name": "b", "template": "2"}]}"#)
        let undecided = try Tokenizer(directory: directory.path)
        #expect(throws: LorikeetError.self) { try ChatTemplate.choose(nil, for: undecided, model: "m", now: nil) }
    }
}
