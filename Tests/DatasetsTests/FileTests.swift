import Foundation
import LorikeetDevices
import LorikeetGround
import LorikeetTokenizers
import MemoryFiles
import Testing

@testable import LorikeetDatasets

/// How records are written down.
struct FileTests {
    private static let lines = Small.alpaca(5)

    private func load(_ bytes: [UInt8], name: String = "data.jsonl") throws -> [TokenSample] {
        var files = MemoryFiles()
        files.contents[name] = bytes
        let tokenizer = try Small.tokenizer()
        return try Dataset.load(
            DatasetSettings(data: name), tokenizer: tokenizer, template: ChatTemplate(Small.chatML, name: "t", specialTokens: tokenizer.namedTokens),
            files: files, cpu: CPU(threads: 2)
        ).train.all()
    }

    /// `printf '{"instruction": "q0", "output": "a0"}\n' | gzip -9n | base64`, and the same by zstd.
    private static let gzip = "H4sIAAAAAAACA6tWyswrLikqTS7JzM9TslJQKjRQ0lFQyi8tKSgtAfETDZRquQAWoKLDJgAAAA=="
    private static let zstd = "KLUv/QRYMQEAeyJpbnN0cnVjdGlvbiI6ICJxMCIsICJvdXRwdXQiOiAiYTAifQqyc6yv"

    @Test func `compressed files, and several streams behind each other, are the same records`() throws {
        let plain = try load(Array(#"{"instruction": "q0", "output": "a0"}"#.utf8))
        for text in [Self.gzip, Self.zstd] {
            let bytes = try #require(Data(base64Encoded: text)).map { $0 }
            // Known by their bytes, not by their name.
            for name in ["data.jsonl", "data.jsonl.gz", "data.jsonl.zst", "data"] where !name.hasSuffix(text == Self.gzip ? ".zst" : ".gz") {
                #expect(try load(bytes, name: name) == plain)
            }
            #expect(try load(bytes + bytes).map(\.ids) == plain.map(\.ids) + plain.map(\.ids))
            let cut = failure { try load(Array(bytes.dropLast(9))) }
            #expect(
                cut?.exit == .unusableInput && (cut?.what.contains("ends too early") == true || cut?.what.contains("damaged") == true),
                "\(String(describing: cut))")
            var damaged = bytes
            damaged[bytes.count / 2] ^= 0x55
            damaged[bytes.count - 3] ^= 0x55
            #expect(failure { try load(damaged) }?.exit == .unusableInput)
        }
        #expect(try load((try #require(Data(base64Encoded: Self.gzip))).map { $0 } + [0, 0, 0, 0]).count == 1)
        #expect(failure { try load((try #require(Data(base64Encoded: Self.gzip))).map { $0 } + Array("more".utf8)) }?.what.contains("damaged") == true)
        #expect(failure { try load(Array("{}".utf8), name: "data.jsonl.gz") }?.what.contains("ends in .gz, but its content is not compressed that way") == true)
    }

    @Test func `a file that is made to fill the machine is refused`() throws {
        // gzip of 300 MB of blanks: a thousand to one.
        let bomb = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".gz").path
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", "head -c 300000000 /dev/zero | tr '\\0' '\\n' | gzip -9 > \(bomb)"]
        try process.run()
        process.waitUntilExit()
        defer { try? FileManager.default.removeItem(atPath: bomb) }
        let error = failure {
            let blocks = try RowBlocks(path: bomb, files: RealFiles())
            while try blocks.next() != nil {}
        }
        #expect(error?.what.contains("400 times its size") == true || error?.what.contains("no records") == true, "\(String(describing: error))")
    }

    @Test(arguments: [
        "[{\"text\": \"a\"}, {\"text\": \"b]\\\"\"}]", "[\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b]\\\"\"}\n]\n",
        " [ {\"text\":\"a\"},{\"text\":\"b]\\\"\"}]",
    ])
    func `a JSON array holds its elements, on whatever lines`(text: String) throws {
        #expect(try load(Array(text.utf8), name: "a.json").map { try Small.text($0.ids) } == ["a<|im_end|>", "b]\"<|im_end|>"])
    }

    @Test func `blocks cut nowhere inside a row`() throws {
        // Rows of different lengths, more than a block.
        let rows = (0..<3000).map { #"{"text": "\#(String(repeating: "é", count: $0 * 7 % 3001))\#($0)"}"# }
        for (text, name) in [(rows.joined(separator: "\n"), "a.jsonl"), ("[" + rows.joined(separator: ",") + "]", "a.json")] {
            let files = MemoryFiles(texts: [name: text])
            let blocks = try RowBlocks(path: name, files: files)
            var found: [String] = []
            var count = 0
            while let block = try blocks.next() {
                count += 1
                for row in block.rows { block.withBytes(of: row) { found.append(String(decoding: $0, as: UTF8.self)) } }
            }
            #expect(found == rows && count > 1)
        }
        let csv = "text\n" + (0..<3000).map { "\"\(String(repeating: "a\n\"\"", count: $0 * 7 % 901))\($0)\"" }.joined(separator: "\n")
        let blocks = try RowBlocks(path: "a.csv", files: MemoryFiles(texts: ["a.csv": csv]))
        var total = 0
        while let block = try blocks.next() {
            for row in block.rows {
                let form = RecordForm(path: "a.csv", form: blocks.form)
                #expect(try form.json(block, row)["text"]?.string == String(repeating: "a\n\"", count: total * 7 % 901) + "\(total)")
                total += 1
            }
        }
        #expect(total == 3000)
    }

    @Test(arguments: [
        ("q;a\n1;\"x;y\"\n", "x;y"), ("q\ta\n1\tx\n", "x"), ("q|a\n1|x\n", "x"), ("sep=;\nq;a\n1;x,y\n", "x,y"), ("\u{FEFF}q,a\r\n1,x\r\n", "x"),
        ("q,a\n\n1,\"x\"\"y\"\n", "x\"y"), (",q,a\n0,1,x", "x"), ("q , a\n1,5\" x\n", "5\" x"), ("q,a\n1,\"x\ny\"", "x\ny"),
    ])
    func `delimiters, quotes, line breaks and row numbers of CSV are understood`(text: String, answer: String) throws {
        let data = try Small.load(files: ["d.csv": text], data: "d.csv") { $0.columns = [("question", "q"), ("answer", "a")] }
        #expect(try Small.trainedTexts(data.train[0]) == [answer + "<|im_end|>"])
        #expect(data.report.notes.count == 1 && data.report.notes[0].contains("the first line names the columns"), "\(data.report.notes)")
    }

    @Test func `several files, patterns and numbered pieces are one set`() throws {
        let files = [
            "a/x1.jsonl": Small.alpaca(2).joined(separator: "\n"), "a/x2.jsonl": #"{"question": "q", "answer": "z"}"#, "a/.hidden.jsonl": "broken",
            "s/train-00000-of-00002.jsonl": Small.alpaca(1)[0], "s/train-00001-of-00002.jsonl": Small.alpaca(2)[1], "s/valid.jsonl": Small.alpaca(1)[0],
            "s/other.txt": "", "two/train.jsonl": "{}", "two/train.csv": "", "v/train.jsonl": Small.alpaca(1)[0], "v/val.jsonl": "", "v/dev.jsonl": "",
        ]
        let both = try Small.load(files: files) { $0.data = ["a/x1.jsonl", "a/x2.jsonl"] }
        #expect(both.train.map(\.record) == [0, 1, 2])
        #expect(try Small.trainedTexts(both.train[2]) == ["z<|im_end|>"])
        for pattern in ["a/*.jsonl", "a/x?.jsonl", "a/x[12].jsonl", "*/x[0-9].jsonl", "a/x[!3]*"] {
            #expect(try Small.load(files: files) { $0.data = [pattern] }.train == both.train, "\(pattern)")
        }
        let set = try Small.load(files: files) { $0.data = ["s"] }
        #expect(set.train.count == 2 && set.validation.count == 1)
        #expect(
            try Small.load(files: files) {
                $0.data = ["a/x1.jsonl"]; $0.validation = ["s/"]
            }.validation.count == 1)
        for (data, words) in [
            (["a/y*.jsonl"], "no file matches the pattern"), (["a/x1.jsonl", "a/x1.jsonl"], "named twice"), (["two"], "train.csv and train.jsonl"),
            (["v"], "several validation files"), ([], "no data is named"), (["gone.jsonl"], "no such file"),
        ] { #expect(failure { try Small.load(files: files) { $0.data = data } }?.what.contains(words) == true, "\(words)") }
        // A broken row of a later file is named there.
        let broken = failure {
            try Small.load(files: ["a.jsonl": Small.alpaca(3).joined(separator: "\n"), "b.jsonl": "\n{"]) { $0.data = ["a.jsonl", "b.jsonl"] }
        }
        #expect(broken?.place == "b.jsonl:2")
    }

    @Test func `only regular files are read`() throws {
        let pipe = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString + ".jsonl").path
        mkfifo(pipe, 0o600)
        defer { unlink(pipe) }
        let tokenizer = try Small.tokenizer()
        for path in [pipe, "/dev/zero", "/"] {
            let error = failure {
                try Dataset.load(DatasetSettings(data: path), tokenizer: tokenizer, template: nil, files: RealFiles(), cpu: CPU(threads: 1))
            }
            #expect(error?.exit == .unusableInput, "\(path)")
        }
    }

    @Test func `patterns are a shell's, and cost no more than text times stars`() {
        for (text, pattern, fits) in [
            ("abc", "a*c", true), ("abc", "a*b", false), ("abc", "***", true), ("a-c", "a[+-]c", true), ("abc", "[!a]bc", false), ("", "*", true),
            ("", "?", false),
            ("[x", "[x", true), ("aXbXc", "*X?X*", true),
        ] { #expect(DataFiles.matches(Array(text.utf8)[...], Array(pattern.utf8)[...]) == fits, "\(text) \(pattern)") }
        let long = Array(String(repeating: "a", count: 20_000).utf8)
        #expect(!DataFiles.matches(long[...], Array("*a*a*a*a*a*a*a*b".utf8)[...]))
    }
}
