import Foundation
import LorikeetModelFiles
import Testing

@testable import LorikeetTokenizers

/// Prints MB/s, tokens/s and load time: `LORIKEET_SPEED=text-file LORIKEET_SMOLLM2=model.gguf swift test -c release … --filter SpeedTests`.
@Suite(
    .enabled(if: ProcessInfo.processInfo.environment["LORIKEET_SPEED"] != nil, "a measurement: set LORIKEET_SPEED to a text file"),
    .serialized)
struct SpeedTests {
    @Test func `how fast SmolLM2's tokenizer loads, encodes and decodes on one core`() throws {
        let environment = ProcessInfo.processInfo.environment
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: environment["LORIKEET_SPEED"] ?? "")), as: UTF8.self)
        let clock = ContinuousClock()
        let file = try GGUFFile(path: environment["LORIKEET_SMOLLM2"] ?? "")
        var loaded: Tokenizer?
        let loading = try clock.measure { loaded = try Tokenizer(gguf: file) }
        let tokenizer = try #require(loaded)
        var ids: [Int32] = []
        var best = Duration.seconds(1e9)
        for _ in 0..<5 { best = min(best, try clock.measure { ids = try tokenizer.encode(text) }) }
        var decoded = ""
        let decoding = clock.measure { decoded = tokenizer.decode(ids) }
        #expect(decoded == text)
        var lineIDs = 0
        let lines = text.split(separator: "\n").map(String.init)
        let byLine = try clock.measure { for line in lines { lineIDs += try tokenizer.encode(line).count } }
        let template = try ChatTemplate(#require(tokenizer.chatTemplateSource), name: "t", specialTokens: [:])
        let rendering = try clock.measure {
            for line in lines.prefix(5000) {
                _ = try template.render([ChatMessage(role: "user", content: line), ChatMessage(role: "assistant", content: "x")], addGenerationPrompt: false)
            }
        }
        func rate(_ amount: Int, _ duration: Duration) -> String { String(format: "%.2f M/s", Double(amount) / 1e6 / (duration / .seconds(1))) }
        print("load \(loading); \(text.utf8.count) bytes, \(ids.count) tokens")
        print(
            "encode \(rate(text.utf8.count, best)) bytes, \(rate(ids.count, best)) tokens; by line \(rate(text.utf8.count, byLine)) bytes; decode \(rate(text.utf8.count, decoding)) bytes"
        )
        print("template: \(rendering / Double(min(lines.count, 5000))) a conversation")
    }
}
