import Foundation
import LorikeetJSON
import Testing

/// `generate` and `chat` as a person or a script uses them.
struct GenerateTests {
    private let tiny: TinyFolder

    init() throws { tiny = try TinyFolder() }

    private func generate(_ arguments: String..., input: String = "") throws -> Binary.Outcome {
        try Binary.run(["generate", "--model", tiny.model, "--max-new-tokens", "6"] + arguments, input: input)
    }

    @Test func `sampling options are refused by name where they cannot be`() throws {
        for (option, value) in [
            ("--temperature", "-1"), ("--top-k", "0"), ("--top-p", "1.5"), ("--min-p", "-0.1"), ("--repetition-penalty", "0"), ("--stop", ""),
            ("--seed", "x"),
        ] {
            let outcome = try generate("--prompt", "a", "--temperature=1", option == "--temperature" ? "--temperature=\(value)" : "\(option)=\(value)")
            #expect(outcome.status == 2 && outcome.error.contains(option) && outcome.out.isEmpty, "\(option): \(outcome.error)")
        }
        let idle = try generate("--prompt", "a", "--top-p", "0.9")
        #expect(idle.status == 2 && idle.error.contains("--top-p has no effect at temperature 0"), "\(idle.error)")
        for arguments in [["--prompt", "a", "--input", "b"], ["--prompt", "a", "--output", "b"], ["--input", "b", "--raw"], ["--input", "b", "--json"], []] {
            #expect(try Binary.run(["generate", "--model", tiny.model] + arguments).status == 2)
        }
    }

    @Test func `a seed repeats, and the default is greedy`() throws {
        func out(_ arguments: String...) throws -> String {
            let outcome = try Binary.run(["generate", "--model", tiny.model, "--max-new-tokens", "24", "--prompt", "say"] + arguments)
            #expect(outcome.status == 0, "\(outcome.error)")
            return outcome.out
        }
        let warm = try out("--temperature", "2", "--seed", "1")
        #expect(try warm == out("--temperature", "2", "--seed", "1", "--threads", "1") && warm != out("--temperature", "2", "--seed", "2"))
        #expect(try out() == out("--temperature", "0"))
        let json = try JSON.parse(out("--json"), source: "generate")
        #expect(json["finish_reason"]?.string == "length" && json["new_tokens"]?.int == 24)
    }

    @Test func `records from a file and from standard input`() throws {
        let lines = (0..<5).map { #"{"id": "r\#($0)", "prompt": "say \#($0):"}"# }.joined(separator: "\n")
        let (file, output) = (try Binary.file(lines, "in.jsonl"), tiny.path + "/out.jsonl")
        let first = try generate("--input", file, "--output", output)
        #expect(first.status == 0 && first.out.isEmpty, "\(first.error)")
        let written = try String(contentsOfFile: output, encoding: .utf8)
        let ids = try written.split(separator: "\n").map { try JSON.parse(String($0), source: "out")["id"]?.string }
        #expect(ids == ["r0", "r1", "r2", "r3", "r4"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: tiny.path).sorted() == ["adapter", "model", "out.jsonl"])
        #expect(try generate("--input", "-", "--batch-size", "2", input: lines).out == written)
        let again = try generate("--input", file, "--output", output)
        #expect(again.status == 2 && again.error.contains("a file of this name exists"), "\(again.error)")
        let bad = try generate("--input", "-", input: lines + "\n{}\n")
        #expect(bad.status == 2 && bad.out.isEmpty && bad.error.contains("standard input:6"), "\(bad.error)")
        #expect(try generate("--input", tiny.path + "/none.jsonl").status == 2)
    }

    @Test func `a chat's commands`() throws {
        func chat(_ input: String, _ arguments: String...) throws -> Binary.Outcome {
            try Binary.run(["chat", "--model", tiny.model, "--max-new-tokens", "4"] + arguments, input: input)
        }
        let plain = try chat("say\n")
        #expect(plain.status == 0, "\(plain.error)")
        #expect(try chat("\nsay\n/quit\nnever").out == plain.out)
        #expect(try chat("/help\n").out.contains("/adapter on|off"))
        let reset = try chat("say\n/reset\nsay\n")
        #expect(reset.out == plain.out + "The conversation begins anew.\n" + plain.out)
        let system = try chat("/system Q\nsay\n/system\nsay\n", "--system", "R")
        #expect(system.out.contains("The system message is set") && system.out.hasSuffix("No system message; the conversation begins anew.\n" + plain.out))
        let unknown = try chat("/resset\n")
        #expect(unknown.status == 2 && unknown.error.contains("no command /resset") && unknown.error.contains("/reset?"), "\(unknown.error)")
        // Two slashes are a message that begins with one.
        #expect(try chat("//x\n").status == 0)
        let none = try chat("/adapter off\n")
        #expect(none.status == 2 && none.error.contains("--adapter"), "\(none.error)")
        let adapter = try chat("say\n/adapter off\n/reset\nsay\n/adapter\n/adapter on\n/reset\nsay\n", "--adapter", tiny.adapter)
        #expect(adapter.status == 0, "\(adapter.error)")
        let lines = adapter.out.components(separatedBy: "The conversation begins anew.\n")
        #expect(lines.count == 3 && lines[1].hasPrefix(plain.out) && lines[1].contains("The adapter is off.\n") && lines[0].hasPrefix(lines[2]))
        #expect(try chat("/adapter maybe\n", "--adapter", tiny.adapter).error.contains("on or off"))
    }

    @Test func `Ctrl-C stops a chat's answer and not the chat`() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Binary.path)
        process.arguments = ["chat", "--model", tiny.model, "--max-new-tokens", "100"]
        let (input, output) = (Pipe(), Pipe())
        (process.standardInput, process.standardOutput) = (input, output)
        process.standardError = FileHandle.nullDevice
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data("say\n".utf8))
        // The first piece: the answer is being computed.
        var text = output.fileHandleForReading.availableData
        #expect(!text.isEmpty)
        kill(process.processIdentifier, SIGINT)
        try input.fileHandleForWriting.write(contentsOf: Data("/help\n".utf8))
        while !String(decoding: text, as: UTF8.self).contains("/quit"), process.isRunning { text += output.fileHandleForReading.availableData }
        #expect(String(decoding: text, as: UTF8.self).contains("/reset"))
        // At the prompt it ends the program.
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGINT)
    }
}
