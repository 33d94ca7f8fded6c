import Foundation
import Testing

/// A tokenizer with more tokens than the model's table has rows: every verb that reads text with a model refuses the token by name.
struct TokenIDTests {
    private static let words = ["token id 160", #""<|extra|>""#, "160 rows (ids 0 to 159)", "saved with this model"]

    private func data(_ bad: Bool) throws -> String {
        var records = (0..<12).map { #"{"prompt": "say \#($0 % 7):", "completion": "ab"}"# }
        if bad { records[4] = #"{"prompt": "say <|extra|>:", "completion": "ab"}"# }
        return try Binary.file(records.joined(separator: "\n") + "\n")
    }

    private func expectRefused(_ outcome: Binary.Outcome, _ words: [String], _ verb: String) {
        #expect(outcome.status == 2, "\(verb): \(outcome.status) \(outcome.error)")
        for word in words { #expect(outcome.error.contains(word), "\(verb): \(outcome.error)") }
        #expect(outcome.error.split(separator: "\n").count == 1, "\(verb): \(outcome.error)")
    }

    @Test(arguments: ["run", "train", "check", "plan", "test"]) func `a record with the token: exit 2 at its line, and nothing is written`(verb: String) throws
    {
        let folder = try TinyFolder()
        let output = folder.path + "/out"
        var arguments = [verb, "--model", folder.model, "--output", output, "--max-length", "48", "--validation-share", "0.25", "--max-bad-records", "0.5"]
        if verb == "test" { arguments += ["--adapter", folder.adapter, "--merged", folder.model] }
        expectRefused(try Binary.run(arguments + ["--data", data(true)]), Self.words + ["train.jsonl:5"], verb)
        #expect(!FileManager.default.fileExists(atPath: output))
        if verb == "check" || verb == "plan" { #expect(try Binary.run(arguments + ["--data", data(false)]).status == 0) }
    }

    @Test func `a prompt with a token that the model has no row for is refused`() throws {
        let folder = try TinyFolder()
        let model = ["--model", folder.model, "--max-new-tokens", "2"]
        expectRefused(try Binary.run(["generate", "--prompt", "say <|extra|>"] + model), Self.words + ["the prompt"], "generate")
        expectRefused(try Binary.run(["generate", "--raw", "--prompt", "say <|extra|>"] + model), Self.words, "generate --raw")
        expectRefused(try Binary.run(["generate", "--prompt", "say", "--system", "<|extra|>"] + model), Self.words, "generate --system")
        // The first question is answered.
        let chat = try Binary.run(["chat"] + model, input: "hello\nsay <|extra|>\n")
        expectRefused(chat, Self.words, "chat")
        #expect(chat.out.contains("\n"))
        #expect(try Binary.run(["generate", "--prompt", "say"] + model).status == 0)
    }
}
