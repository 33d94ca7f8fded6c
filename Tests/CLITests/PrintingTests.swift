import Foundation
import LorikeetJSON
import Testing

/// What verbs print of files cannot act on a terminal, and no option is taken without effect.
struct PrintingTests {
    private static let evil = "\u{1B}[2J\u{9B}1A\u{202E}x"
    private static let shown = #"\u{1B}[2J\u{9B}1A\u{202E}x"#

    /// Neither output holds a control character, and one of them shows the escapes.
    private func expectEscaped(_ outcome: Binary.Outcome, _ words: String = shown, status: Int32, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(outcome.status == status, "\(outcome.error)", sourceLocation: sourceLocation)
        for text in [outcome.out, outcome.error] {
            #expect(
                text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) && $0.value != 0x202E },
                "\(text.debugDescription)", sourceLocation: sourceLocation)
        }
        #expect((outcome.out + outcome.error).contains(words), "\(outcome.out)\(outcome.error)", sourceLocation: sourceLocation)
    }

    private func data(_ records: [JSON]) throws -> String {
        // As a raw file: the project's own JSON would escape the characters.
        let lines = records.map { record in
            let fields = (record.object?.entries ?? []).map { "\"\($0.key)\":\"\($0.value.string ?? "")\"" }
            return "{" + fields.joined(separator: ",") + "}"
        }
        return try Binary.file(lines.joined(separator: "\n").replacingOccurrences(of: "\u{1B}", with: "\\u001b") + "\n")
    }

    @Test func `text that is learnt`() throws {
        guard let model = Binary.smollm2 else { return }
        let data = try data((0..<4).map { ["prompt": .string("q \($0)" + Self.evil), "completion": .string("a" + Self.evil)] })
        expectEscaped(try Binary.run("check", "--model", model, "--data", data), #"\u{1B}"#, status: 0)
        let json = try Binary.run("check", "--model", model, "--data", data, "--json", "--rows", "1")
        expectEscaped(json, #"\u001b"#, status: 0)
        let tokens = try JSON.parse(json.out, source: "check")["samples"]?.array?.first?["tokens"]?.array ?? []
        #expect(tokens.count > 4 && tokens.contains { $0["trained"] == true } && tokens.contains { $0["text"]?.string?.contains("\u{1B}") == true })
        let output = try Binary.scratch() + "/out"
        expectEscaped(
            try Binary.run("train", "--model", model, "--data", data, "--max-steps", "1", "--output", output, "--device", "cpu"), #"\u{1B}"#, status: 0)
        #expect(try !String(contentsOfFile: output + "/events.jsonl", encoding: .utf8).contains("\u{9B}"))
    }

    @Test func `keys of records and configurations, roles, names of tensors and files, templates`() throws {
        let tiny = try TinyFolder()
        let good = try data([["prompt": "a", "completion": "b"]])
        expectEscaped(try Binary.run("check", "--model", tiny.model, "--data", data([["prompt": "a", "completion": "b", Self.evil: "c"]])), status: 0)
        expectEscaped(try Binary.run("check", "--model", tiny.model, "--data", data([[Self.evil: "c"]])), status: 2)
        expectEscaped(try Binary.run("check", "--model", tiny.model, "--data", good + Self.evil), status: 2)
        let config = tiny.model + "/config.json"
        var object = try JSON.parse(String(contentsOfFile: config, encoding: .utf8), source: "config").object ?? [:]
        object["hidden_act"] = .string(Self.evil)
        try JSON.object(object).serialized().write(toFile: config, atomically: true, encoding: .utf8)
        expectEscaped(try Binary.run("plan", "--model", tiny.model, "--data", good), status: 2)
        object["hidden_act"] = "silu"
        object["key" + Self.evil] = 1
        try JSON.object(object).serialized().write(toFile: config, atomically: true, encoding: .utf8)
        expectEscaped(try Binary.run("generate", "--model", tiny.model, "--prompt", "a", "--max-new-tokens", "1"), status: 0)
        let template: JSON = ["eos_token": "</s>", "chat_template": .string("{{ raise_exception('no " + Self.evil + "') }}")]
        try template.serialized().write(toFile: tiny.model + "/tokenizer_config.json", atomically: true, encoding: .utf8)
        expectEscaped(try Binary.run("generate", "--model", tiny.model, "--prompt", "a"), "no " + Self.shown, status: 2)
        expectEscaped(try Binary.run("merge", "--model", tiny.model, "--adapter", Self.evil, "--output", tiny.path + "/merged"), status: 2)
        expectEscaped(try Binary.run("plan", "--" + Self.evil), status: 2)
    }

    @Test func `options that would have no effect are refused`() throws {
        let tiny = try TinyFolder()
        let data = try data((0..<3).map { ["prompt": .string("a\($0)"), "completion": "b"] })
        let plan = ["plan", "--model", tiny.model, "--data", data, "--device", "cpu"]
        #expect(try Binary.run(plan + ["--explain"]).status == 0)
        for options in [["--explain", "--json"], ["--explain", "--compare", "full"]] {
            let outcome = try Binary.run(plan + options)
            #expect(outcome.status == 2 && outcome.error.contains("--explain") && outcome.out.isEmpty, "\(options): \(outcome.error)")
        }
        let both = try JSON.parse(Binary.run(plan + ["--json", "--compare", "full"]).out, source: "plan")
        #expect(both.object?.keys == ["kaggle-free", "full"] && both["full"]?["steps"]?.int != nil)
        let noted = try Binary.run(plan + ["--json", "--optim", "adamw_8bit"])
        #expect(try noted.error.contains("note: --optim") && JSON.parse(noted.out, source: "plan")["steps"]?.int != nil, "\(noted.error)")
        let raw = try Binary.run("generate", "--model", tiny.model, "--prompt", "a", "--raw", "--system", "b")
        #expect(raw.status == 2 && raw.error.contains("--system"), "\(raw.error)")
        let alone = try Binary.run("doctor", "--model", tiny.model)
        #expect(alone.status == 2 && (alone.error + alone.out).contains("--model"), "\(alone.error)")
    }
}
