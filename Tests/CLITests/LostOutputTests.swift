import Foundation
import LorikeetJSON
import Testing

/// What is printed arrives, or the command says that it did not; and no output takes the place of something else.
struct LostOutputTests {
    private static let run = ReportTests.run

    private func shell(_ line: String, in folder: String) throws -> Binary.Outcome {
        try Binary.shell("set +e +o pipefail; L='\(Binary.path)'; \(line)", in: folder, environment: [:])
    }

    @Test(arguments: [">/dev/full", ">&-"])
    func `a result that standard output does not take is exit 4`(redirection: String) throws {
        let tiny = try TinyFolder()
        try #"{"prompt": "say 1:"}"#.write(toFile: tiny.path + "/in.jsonl", atomically: true, encoding: .utf8)
        for verb in [
            "--version", "--help", "init", "doctor --json", "generate --model model --prompt a --max-new-tokens 3",
            "generate --model model --input in.jsonl --max-new-tokens 3",
        ] {
            let outcome = try shell("$L \(verb) \(redirection)", in: tiny.path)
            #expect(outcome.status == 4 && outcome.error.contains("lorikeet: standard output could not be written"), "\(verb): \(outcome)")
        }
    }

    @Test func `an argument that is no UTF-8 is refused, and no file of another name is made`() throws {
        let tiny = try TinyFolder()
        let outcome = try shell("$L export --model model --output $'out\\xff' --form f16", in: tiny.path)
        #expect(outcome.status == 2 && outcome.error.contains("argument 5 is not UTF-8"), "\(outcome)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: tiny.path).sorted() == ["adapter", "model"])
    }

    @Test func `a reader that has seen enough is no failure`() throws {
        let tiny = try TinyFolder()
        let outcome = try shell("$L generate --model model --prompt a --max-new-tokens 40 | true; exit ${PIPESTATUS[0]}", in: tiny.path)
        #expect(outcome.status == 0 && outcome.error.isEmpty, "\(outcome)")
    }

    @Test func `with closed streams no text gets into files`() throws {
        let tiny = try TinyFolder()
        try (0..<3).map { #"{"prompt": "say \#($0):"}"# + "\n" }.joined().write(toFile: tiny.path + "/in.jsonl", atomically: true, encoding: .utf8)
        let command = "$L generate --model model --input in.jsonl --max-new-tokens 3 --output"
        #expect(try shell("\(command) open; \(command) closed <&- >&- 2>&-", in: tiny.path).status == 0)
        #expect(FileManager.default.contentsEqual(atPath: tiny.path + "/open", andPath: tiny.path + "/closed"))
    }

    @Test func `a run with closed streams writes no progress into its files`() throws {
        let tiny = try TinyFolder()
        try (0..<12).map { #"{"prompt": "say \#($0):", "completion": "ab"}"# + "\n" }.joined()
            .write(toFile: tiny.path + "/in.jsonl", atomically: true, encoding: .utf8)
        let command =
            "XDG_CACHE_HOME=cache $L run --model model --data in.jsonl --validation-share 0.25 --max-steps 2 --device cpu --merge-tolerance 10 --output"
        #expect(try shell("\(command) open >/dev/null", in: tiny.path).status == 0)
        let closed = try shell("\(command) closed <&- >&- 2>&-", in: tiny.path)
        // What standard output does not take is said by the exit code.
        #expect([0, 4].contains(closed.status), "\(closed)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: tiny.path + "/closed/.lock")).isEmpty)
        for name in ["adapter/adapter_model.safetensors", "merged/model.safetensors", "inputs.json"] {
            #expect(FileManager.default.contentsEqual(atPath: tiny.path + "/open/" + name, andPath: tiny.path + "/closed/" + name), "\(name)")
        }
    }

    @Test func `a page is written over an earlier page alone`() throws {
        let folder = try Binary.scratch()
        try FileManager.default.copyItem(atPath: Self.run, toPath: folder + "/run")
        try "mine".write(toFile: folder + "/notes.html", atomically: true, encoding: .utf8)
        try FileManager.default.createSymbolicLink(atPath: folder + "/link.html", withDestinationPath: "notes.html")
        #expect(mkfifo(folder + "/fifo", 0o600) == 0)
        for (place, word) in [
            ("notes.html", "a file of this name exists"), ("link.html", "a link of this name"), ("fifo", "a file of this name"),
            ("run", "a folder of this name"), ("notes.html/x.html", "this is no folder"), (String(repeating: "x", count: 240), "longer than"),
        ] {
            let outcome = try shell("$L report run --output \(place)", in: folder)
            #expect(outcome.status == 2 && outcome.error.contains(word), "\(place): \(outcome)")
        }
        #expect(try String(contentsOfFile: folder + "/notes.html", encoding: .utf8) == "mine")
        let outcome = try shell("$L report run --output new/page.html && $L report run run --output new/page.html", in: folder)
        let page = try String(contentsOfFile: folder + "/new/page.html", encoding: .utf8)
        #expect(outcome.status == 0 && page.contains("2 runs compared"), "\(outcome)")
    }

    @Test func `an export's name leads nowhere else`() throws {
        let tiny = try TinyFolder()
        for name in ["../../x", "/x", "a/b", " ", ".", "..", ".x", "-x", "a\nb", "a\u{1B}[2Jb", "a\u{202E}b", String(repeating: "x", count: 151)] {
            let outcome = try Binary.run("export", "--model", tiny.model, "--output", tiny.path + "/out/gguf", "--form", "f16", "--name=" + name)
            #expect(outcome.status == 2 && outcome.error.contains("--name"), "\(name.debugDescription): \(outcome.error)")
        }
        #expect(!FileManager.default.fileExists(atPath: tiny.path + "/out"))
        // A folder's name may be as long as file systems take.
        let long = tiny.path + "/" + String(repeating: "m", count: 255)
        try FileManager.default.copyItem(atPath: tiny.model, toPath: long)
        let outcome = try Binary.run("export", "--model", long, "--output", tiny.path + "/gguf", "--form", "q8_0")
        #expect(outcome.status == 0 && outcome.out.contains("/" + String(repeating: "m", count: 150) + "-Q8_0.gguf"), "\(outcome.error)")
    }
}
