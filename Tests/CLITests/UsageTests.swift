import Foundation
import LorikeetJSON
import Testing

/// Every verb answers bad usage with one sentence and exit 2, and help with an example and exit 0.
struct UsageTests {
    static let verbs = [
        "run", "train", "check", "plan", "merge", "export", "test", "generate", "chat", "pull", "push", "report", "doctor", "bench", "init", "kernels",
    ]
    /// A value that each verb must refuse.
    static let badValues: [String: [String]] = [
        "run": ["--seed", "many"], "train": ["--max-length", "0"], "check": ["--rows", "some", "--model", "x"], "plan": ["--learning-rate", "fast"],
        "merge": ["--model", "x", "--adapter", "y", "--output", "z", "--dtype", "int3"],
        "export": ["--model", "x", "--output", "z", "--form", "q3_x"], "test": ["--merge-dtype", "float7"],
        "generate": ["--model", "x", "--prompt", "y", "--max-new-tokens", "0"], "chat": ["--model", "x", "--max-new-tokens", "none"],
        "pull": ["a/b/c"], "push": ["/no/such/folder", "me/m"], "report": ["/no/such/run"],
        "doctor": ["--threads", "-3"], "bench": ["--shape", "llama-9b"], "init": ["--preset", "rich"],
        "kernels": ["--output", "x", "--architectures", "7.5"],
    ]

    @Test(arguments: verbs) func `a bad flag is exit 2 with a sentence`(verb: String) throws {
        let outcome = try Binary.run(verb, "--no-such-flag", "1")
        #expect(outcome.status == 2, "\(outcome.error)")
        #expect(outcome.error.hasPrefix("lorikeet: ") && outcome.out.isEmpty, "\(outcome.error)")
    }

    @Test(arguments: verbs) func `a bad value is exit 2 with a sentence`(verb: String) throws {
        let outcome = try Binary.run([verb] + (Self.badValues[verb] ?? []))
        #expect(outcome.status == 2, "\(outcome.error)")
        #expect(outcome.error.hasPrefix("lorikeet: ") && outcome.out.isEmpty, "\(outcome.error)")
    }

    @Test(arguments: verbs) func `help has an example and exits 0`(verb: String) throws {
        let outcome = try Binary.run(verb, "--help")
        #expect(outcome.status == 0)
        #expect(outcome.out.contains("Example: lorikeet \(verb)"), "\(outcome.out.prefix(300))")
        let same = try Binary.run("help", verb)
        #expect(same.status == 0 && same.out == outcome.out)
    }

    @Test func `an unknown verb is exit 2 and names all verbs`() throws {
        let outcome = try Binary.run("fly")
        #expect(outcome.status == 2 && outcome.error.hasPrefix("lorikeet: there is no verb 'fly'; the verbs are run, train, "), "\(outcome.error)")
        for verb in Self.verbs { #expect(outcome.error.contains(verb), "\(verb)") }
    }

    @Test(arguments: [
        ("run --learning-rat 1", "unknown option --learning-rat; did you mean --learning-rate?"),
        ("run --out x", "unknown option --out; did you mean --output?"),
        ("run --frobnicate 1", "unknown option --frobnicate; lorikeet run --help lists the options"),
        ("test --adaptor x", "unknown option --adaptor; did you mean --adapter?"),
        // The mistyped name is why another argument is missing.
        ("merge --model x --adaptor y", "unknown option --adaptor; did you mean --adapter?"),
        ("generate --prmpt=x", "unknown option --prmpt; did you mean --prompt?"),
        ("generate -model x --prompt y", "unknown option -model; did you mean --model?"),
        ("bench --lora_r 3", "unknown option --lora_r; did you mean --lora-r?"),
        ("doctor --frobnicate", "unknown option --frobnicate; lorikeet doctor --help lists the options"),
        ("--verson", "unknown option --verson; did you mean --version?"), ("tran", "there is no verb 'tran'; did you mean lorikeet train?"),
        ("mrege --model x", "there is no verb 'mrege'; did you mean lorikeet merge?"), ("gen", "there is no verb 'gen'; did you mean lorikeet generate?"),
        ("help exprot", "there is no verb 'exprot'; did you mean lorikeet export?"),
    ]) func `a misspelt verb or option names the nearest, and another word none`(command: String, words: String) throws {
        let outcome = try Binary.run(command.split(separator: " ").map(String.init))
        #expect(outcome.status == 2 && outcome.error == "lorikeet: \(words)\n", "\(outcome.error)")
    }

    @Test func `an option without its value is said to lack it, also before another option`() throws {
        let outcome = try Binary.run("generate", "--model", "x", "--prompt", "--max-new-tokens", "3")
        #expect(outcome.status == 2 && outcome.error.hasPrefix("lorikeet: Missing value for '--prompt <prompt>'"), "\(outcome.error)")
    }

    @Test func `doctor describes the machine for people and for machines`() throws {
        #expect(try Binary.run("doctor").out.contains("ram_total_bytes"))
        let json = try JSON.parse(Binary.run("doctor", "--json").out, source: "doctor")
        #expect((json["threads"]?.int ?? 0) >= 1 && (json["ram_total_bytes"]?.int ?? 0) > 1 << 28)
    }

    @Test func `a switch can be said to be off`() throws {
        #expect(try !Binary.run("doctor", "--json=false").out.hasPrefix("{") && Binary.run("doctor", "--json=true").out.hasPrefix("{"))
        #expect(try Binary.run("doctor", "--kernels=false").status == 0)
        let wrong = try Binary.run("doctor", "--json=perhaps")
        #expect(wrong.status == 2 && wrong.error == "lorikeet: --json has to be true or false, not 'perhaps'; write --json or --json=false\n")
        // Verbs that take a recipe read their arguments themselves.
        for verb in ["run", "train", "check", "plan", "test"] {
            let outcome = try Binary.run(verb, "--json=perhaps")
            #expect(outcome.status == 2 && outcome.error.contains("--json has to be true or false"), "\(outcome.error)")
        }
        guard let model = Binary.smollm2 else { return }
        let data = try Binary.file(Binary.records(8))
        for (value, isJSON) in [("--json=true", true), ("--json=false", false), ("--json", true)] {
            let outcome = try Binary.run("check", "--model", model, "--data", data, "--shuffle=false", value)
            #expect(outcome.status == 0 && ((try? JSON.parse(outcome.out, source: "check")) != nil) == isJSON, "\(value): \(outcome.error)")
        }
    }

    @Test func `every switch of a verb can be said to be off`() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../Sources/CLI")
        let main = try String(contentsOf: folder.appending(path: "Main.swift"), encoding: .utf8)
        var seen = 0
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) where name.hasSuffix(".swift") {
            var verb = ""
            for line in try String(contentsOf: folder.appending(path: name), encoding: .utf8).split(separator: "\n") {
                if let match = line.firstMatch(of: /commandName: "(\w+)"/) { verb = String(match.1) }
                guard line.contains("@Flag"), let variable = line.firstMatch(of: /var (\w+) = false/)?.1 else { continue }
                let flag = line.firstMatch(of: /customLong\("([\w-]+)"\)/)?.1 ?? Substring(variable.replacing(/[A-Z]/) { "-" + $0.0.lowercased() })
                seen += 1
                let row = try #require(main.firstMatch(of: Regex("\"\(verb)\": \\[([^\\]]*)\\]")), "\(verb)")
                #expect(String(row.output[1].substring ?? "").contains("\"\(flag)\""), "\(verb) --\(flag)")
            }
        }
        #expect(seen == 16)
    }

    @Test func `init writes a recipe that plan reads`() throws {
        let file = try Binary.file(Binary.run("init", "--preset", "full").out, "run.yaml")
        let outcome = try Binary.run("plan", "--config", file)
        #expect(outcome.status == 2 && outcome.error.contains("path/to/model-directory-or.gguf: no such model"), "\(outcome.error)")
    }
}
