import Foundation
import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetTokenizers
import Testing

@testable import LorikeetDelivery

/// What stands beside merged weights, and the proof that it is what the model was trained with.
struct SidecarTests {
    private let files = RealFiles()

    /// A folder with a tokenizer of single characters and a template.
    private func folder(
        template: String? = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}", eos: String = "</s>", swapped: Bool = false, addsBOS: Bool? = nil
    ) throws -> String {
        let path = Temporary.folder()
        try files.createDirectory(path)
        let specials = ["<pad>", "<s>", "</s>", "<|turn|>"]
        var characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        if swapped { characters.swapAt(40, 41) }
        let tokenizer: JSON = [
            "model": ["type": "BPE", "vocab": .object(JSONObject((specials + characters).enumerated().map { ($1, JSON($0)) })), "merges": []],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false, "use_regex": true], "decoder": ["type": "ByteLevel"],
            "added_tokens": .array(
                specials.enumerated().map { id, text in
                    [
                        "id": JSON(id), "content": .string(text), "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                        "normalized": false,
                    ]
                }),
        ]
        try files.writeDurably(tokenizer.serialized(), to: path + "/tokenizer.json")
        var settings: JSONObject = ["bos_token": "<s>", "eos_token": .string(eos)]
        settings["chat_template"] = template.map { .string($0) }
        settings["add_bos_token"] = addsBOS.map { .bool($0) }
        try files.writeDurably(JSON.object(settings).serialized(), to: path + "/tokenizer_config.json")
        return path
    }

    private func compare(_ trained: String, _ written: String, texts: [String] = ["hello world", "what?</s>"]) throws -> SidecarComparison {
        let tokenizer = try Tokenizer(directory: trained)
        let template = try tokenizer.chatTemplateSource.map { try ChatTemplate($0, name: "t", specialTokens: tokenizer.namedTokens) }
        let samples = try texts.map { text in
            let ids = try tokenizer.encode(text)
            return TokenSample(record: 0, ids: ids, trained: ids.map { _ in true })
        }
        return try SidecarComparison(of: written, trained: .init(tokenizer: tokenizer, template: template), samples: samples, files: files)
    }

    @Test func `the same files are a pass, and without a text nothing is tested`() throws {
        let (a, b) = (try folder(), try folder())
        let same = try compare(a, b)
        #expect(same.verdict == .pass && same.texts == 2 && same.json["pass"] == true, "\(same)")
        #expect(try compare(a, b, texts: []).verdict == .notTested)
        // A template and its copy in a file of its own.
        let text = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
        let own = try folder(template: nil)
        try files.writeDurably(text, to: own + "/chat_template.jinja")
        #expect(try compare(a, own).verdict == .pass)
    }

    @Test func `another tokenizer, end, template, or none at all is a failure that says what differs`() throws {
        let trained = try folder()
        for (written, words) in [
            (try folder(eos: "<|turn|>"), "end"), (try folder(template: nil), "no chat template"),
            (try folder(template: "{{ messages[0]['content'] }}"), "chat template"),
            (try folder(addsBOS: true), "before every text"), (try folder(swapped: true), "token 44"), (Temporary.folder(), "cannot be loaded"),
        ] {
            let other = try compare(trained, written)
            #expect(other.verdict == .fail && other.words.contains(words) && other.json["difference"]?.string != nil, "\(other)")
        }
        #expect(try compare(folder(template: nil), trained).words.contains("none was used"))
    }

    // MARK: files

    private func merged(_ base: String) throws -> String {
        let directory = Temporary.folder()
        try Merger(
            base: ModelSource.open(base), adapter: AdapterFile.read(directory: MergeTests.llama + "/adapter_init"), settings: MergeSettings(type: .f16),
            files: files, cpu: CPU(threads: 2)
        ).write(to: directory)
        return directory
    }

    private func base() throws -> String {
        let base = try folder()
        for name in ["config.json", "model.safetensors"] { try files.writeDurably(files.read(MergeTests.llama + "/" + name), to: base + "/" + name) }
        return base
    }

    @Test func `every file of the base's tokenizer is copied as it is`() throws {
        let base = try base()
        let names = [
            "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
            "additional_chat_templates/tools.jinja", "preprocessor_config.json", "generation_config.json",
        ]
        try files.createDirectory(base + "/additional_chat_templates")
        for name in names { try files.writeDurably("{} of \(name)", to: base + "/" + name) }
        try files.writeDurably("no tokenizer's", to: base + "/training_args.bin")
        let directory = try merged(base)
        for name in names + ["tokenizer.json", "tokenizer_config.json"] {
            #expect(try files.read(directory + "/" + name) == files.read(base + "/" + name), "\(name)")
        }
        #expect(!files.exists(directory + "/training_args.bin"))
        #expect(try Sidecar(source: ModelFiles.open(base), files: files).bytes() > 1000)
    }

    @Test func `another template stands in both places that transformers reads, and the other files are the base's`() throws {
        let base = try base()
        try files.writeDurably(#"{"chat_template": "old"}"#, to: base + "/chat_template.json")
        let (directory, template) = (Temporary.folder(), "{{ bos_token }}{% for m in messages %}«{{ m['content'] }}»<|turn|>{% endfor %}")
        var settings = MergeSettings(type: .f16)
        settings.template = template
        try Merger(
            base: ModelSource.open(base), adapter: AdapterFile.read(directory: MergeTests.llama + "/adapter_init"), settings: settings, files: files,
            cpu: CPU(threads: 2)
        ).write(to: directory)
        #expect(try files.readText(directory + "/chat_template.jinja") == template && !files.exists(directory + "/chat_template.json"))
        var written = try #require(JSON.parse(files.read(directory + "/tokenizer_config.json"), source: "t").object)
        #expect(written["chat_template"]?.string == template)
        var original = try #require(JSON.parse(files.read(base + "/tokenizer_config.json"), source: "t").object)
        (written["chat_template"], original["chat_template"]) = (nil, nil)
        #expect(written == original)
        #expect(try files.read(directory + "/tokenizer.json") == files.read(base + "/tokenizer.json"))
    }

    @Test func `generation stops at the token that ends a turn in the template, also where the base names another alone`() throws {
        for (template, settings, ends) in [
            ("{{ m }}<|im_end|>", #"{"eos_token_id": 2, "top_k": 9}"#, [2, 3] as JSON), ("{{ m }}<|im_end|>", #"{"eos_token_id": [3, 2]}"#, [3, 2]),
            ("{{ m }}<|im_end|>", "{}", 3), ("{{ m }}</s>", #"{"eos_token_id": 2}"#, 2),
        ] {
            let base = try base()
            let text = try files.readText(base + "/tokenizer.json").replacing("<|turn|>", with: "<|im_end|>")
            try files.writeDurably(text, to: base + "/tokenizer.json")
            try files.writeDurably(template, to: base + "/chat_template.jinja")
            try files.writeDurably(settings, to: base + "/generation_config.json")
            let written = try files.readText(merged(base) + "/generation_config.json")
            let json = try JSON.parse(written, source: "g")
            #expect(json["eos_token_id"] == ends, "\(template) \(settings): \(written)")
            #expect(json["top_k"] == (try JSON.parse(settings, source: "s")["top_k"]))
            // Where nothing is missing, the base's own bytes.
            let had = try JSON.parse(settings, source: "s")["eos_token_id"]
            #expect((written == settings) == (had == ends))
        }
    }

    @Test func `config json does not send readers to Python files that are not there`() throws {
        let base = try base()
        var json = try #require(JSON.parse(files.read(base + "/config.json"), source: "c").object)
        json["auto_map"] = ["AutoModelForCausalLM": "modeling_x.X"]
        try files.writeDurably(JSON.object(json).serialized(), to: base + "/config.json")
        let written = try #require(try JSON.parse(files.read(merged(base) + "/config.json"), source: "c").object)
        #expect(written["auto_map"] == nil && written["dtype"] == "float16" && written["torch_dtype"] == "float16")
    }

    @Test func `a folder, a dead link or a pipe of such a name is refused before anything is written`() throws {
        for (number, name) in ["vocab.json", "tokenizer.model", "chat_template.jinja", "generation_config.json"].enumerated() {
            let base = try base()
            switch number {
            case 0: try files.createDirectory(base + "/" + name)
            case 1: #expect(symlink("/no/such/file", base + "/" + name) == 0)
            case 2: #expect(symlink("/tmp", base + "/" + name) == 0)
            default: #expect(mkfifo(base + "/" + name, 0o600) == 0)
            }
            let error = #expect(throws: LorikeetError.self) { try merged(base) }
            #expect(error?.exit == .unusableInput && error?.description.contains(name) == true, "\(error?.description ?? "")")
        }
        // A link to a file is how a hub's cache holds it.
        let base = try base()
        try files.writeDurably("{}", to: base + "-elsewhere.json")
        #expect(symlink(base + "-elsewhere.json", base + "/vocab.json") == 0)
        #expect(try files.readText(merged(base) + "/vocab.json") == "{}")
    }
}
