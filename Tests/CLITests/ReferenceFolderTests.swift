import Foundation
import Testing

/// Reference folders are files like any other: an id that the model's tables do not have is refused by name.
struct ReferenceFolderTests {
    private func expectRefused(_ outcome: Binary.Outcome, _ words: [String], _ name: String) {
        #expect(outcome.status == 2, "\(name): \(outcome.status) \(outcome.error)")
        for word in words { #expect(outcome.error.contains(word), "\(name): \(outcome.error)") }
        #expect(outcome.error.split(separator: "\n").count == 1, "\(name): \(outcome.error)")
    }

    @Test(arguments: [Int64(160), -1, 4_294_967_301]) func `reference numbers with a token id that the model does not have are refused`(id: Int64) throws {
        let folder = try Binary.scratch() + "/llama"
        try FileManager.default.copyItem(atPath: TinyFolder.reference, toPath: folder)
        for name in ["input_ids", "labels"] {
            try TinyFolder.overwrite(name, in: folder + "/expected.safetensors", with: TinyFolder.bytes(id))
            let outcome = try Binary.run("doctor", "--reference", folder)
            expectRefused(outcome, ["token id \(id)", "160 rows", "expected.safetensors", name == "labels" ? "input_ids" : name], "doctor")
        }
    }

    @Test func `a folder of texts with a token id that the model does not have, or with none, is refused`() throws {
        let (tiny, folder) = (try TinyFolder(), try Binary.scratch())
        for (entry, words) in [
            (#"{"text": "ab", "ids": [1, 160], "loss": 1, "nf4_loss": 1}"#, ["token id 160", "texts[0].ids", "160 rows"]),
            (#"{"text": "ab", "ids": [1, 4294967297], "loss": 1, "nf4_loss": 1}"#, ["4294967297", "texts[0].ids"]),
            (#"{"text": "ab", "ids": "none", "loss": 1, "nf4_loss": 1}"#, ["texts[0].ids"]),
            (#"{"ids": [1, 2], "loss": 1, "nf4_loss": 1}"#, ["texts[0].text"]),
            (#"{"text": "ab", "ids": [1, 2], "loss": "x", "nf4_loss": 1}"#, ["texts[0].loss"]),
        ] {
            try #"{"texts": [\#(entry)], "chats": []}"#.write(toFile: folder + "/expected.json", atomically: true, encoding: .utf8)
            expectRefused(try Binary.run("doctor", "--reference", folder, "--model", tiny.model), words + ["expected.json"], entry)
        }
    }
}
