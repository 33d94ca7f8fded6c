import FailingFiles
import Foundation
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import Testing

@testable import Lorikeet

/// The model cards in `adapter/` and `merged/`.
struct ModelCardTests {
    private let files = RealFiles()

    private func text(_ run: TinyRun, _ part: String) throws -> String { try files.readText(run.output + "/\(part)/README.md") }

    /// The front matter's lines, without the dashes.
    private func frontMatter(_ card: String) -> [String] {
        let lines = card.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard lines.first == "---", let end = lines.dropFirst().firstIndex(of: "---") else { return [] }
        return Array(lines[1..<end])
    }

    private func card(_ part: OutputParts.Part, options: [String: String] = [:], summary: JSON = [:]) throws -> String {
        let all = ["model": "org/base", "data": "hf://datasets/org/records"].merging(options) { $1 }
        let recipe = try Recipe.resolve(file: nil, options: all.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }).recipe
        return ModelCard(part: part, recipe: recipe, summary: summary, files: files).text()
    }

    // MARK: text

    @Test func `the front matter is what a hub reads, with the base's licence where it is known`() throws {
        let summary: JSON = [
            "base": ["name": "org/base", "hub_name": "org/base", "license": "other", "license_name": "base license", "license_link": "https://x.org/l"],
            "base_storage": "nf4",
        ]
        #expect(
            try frontMatter(card(.merged, summary: summary)) == [
                "base_model: org/base", "base_model_relation: finetune", "library_name: transformers", "pipeline_tag: text-generation", "license: other",
                "license_name: \"base license\"", "license_link: \"https://x.org/l\"", "datasets:", "- org/records", "tags:", "- lorikeet", "- lora", "- qlora",
            ])
        let adapter = try frontMatter(card(.adapter, summary: ["base": ["name": "base"], "base_storage": "f16"]))
        #expect(
            adapter == [
                "library_name: peft", "pipeline_tag: text-generation", "datasets:", "- org/records", "tags:", "- lorikeet", "- lora",
            ])
    }

    @Test func `the numbers are the summary's, and what was not tested is said to be so`() throws {
        let summary: JSON = [
            "steps": 7, "trained_tokens": 1234, "validation_loss_before": 3.14159, "validation_loss_after": 1.5, "answers_right_before": 0.25,
            "answers_right_after": 0.5, "answers_right_with_adapter": .null, "merged_matches_adapter": ["pass": true, "max_logit_difference": 0.0125],
            "transfer": ["pass": false, "merged_loss": 1.75, "trained_form_loss": 1.5], "sidecar": ["pass": .null, "texts": 0],
            "seconds": 75, "phases": ["training": 60], "peak_rss_bytes": 1_048_576, "machine": ["processor": "A|B", "threads": 3],
        ]
        let text = try card(.merged, summary: summary)
        for line in [
            "| base model | 3.142 | 25 % |", "| base model with the adapter | 1.5 | not tested |", "| merged model | 1.75 | 50 % |",
            "| merged model = base + adapter | pass | largest difference of a logit 0.0125 |",
            "| merged model as good as the trained form | **fail** | loss 1.75 against 1.5 |",
            "| same tokens and template in this folder | not tested | 0 texts |", "| steps | 7, 2 epochs; 1234 tokens with a loss |",
            "| processor | A&#124;B, 3 threads |",
        ] { #expect(text.split(separator: "\n").contains(Substring(line)), "\(line)\n\(text)") }
        #expect(try card(.merged, summary: summary) == text)
        // A run that was killed and gone on with takes another time, and writes the same card.
        var later = summary.object ?? [:]
        (later["seconds"], later["phases"], later["peak_rss_bytes"]) = (99, ["training": 80], 2_097_152)
        #expect(try card(.merged, summary: .object(later)) == text)
    }

    @Test func `the command has what differs from the preset, and no path of this machine`() throws {
        let text = try card(
            .adapter,
            options: [
                "model": "/home/someone/secret project/base model", "data": "/home/someone/a'b.jsonl", "learning-rate": "1e-4",
                "target-modules": "q_proj,o_proj",
                "seed": "7", "chat-template": "/home/someone/chat.jinja", "threads": "3",
            ])
        let command = """
            lorikeet run \\
                --model 'base model' \\
                --data 'a'\\''b.jsonl' \\
                --preset kaggle-free \\
                --chat-template chat.jinja \\
                --target-modules q_proj,o_proj \\
                --learning-rate 0.0001 \\
                --seed 7
            """
        #expect(text.contains(command) && !text.contains("someone") && !text.contains("secret"), "\(text)")
    }

    @Test func `names cannot act as Markdown, HTML or YAML`() throws {
        let name = "a`b|c](http://x) <img src=x> **d**\n---\nlicense: mit"
        let summary: JSON = ["base": ["name": .string(name), "hub_name": .string(name), "license_link": "x", "license": "mit"]]
        let text = try card(.merged, options: ["data": "x\n# y|z.jsonl"], summary: summary)
        let matter = frontMatter(text)
        #expect(matter.filter { $0.hasPrefix("license") } == ["license: mit", "license_link: x"])
        #expect(matter.filter { $0.hasPrefix("base_model:") }.count == 1 && !text.contains("\n# y"))
        #expect(text.contains("``a`b\\|c](http://x) <img src=x> **d**\\n---\\nlicense: mit``"))
    }

    // MARK: what is known of the base

    private func origin(_ path: String, card: String? = nil, model: String? = nil) throws -> BaseOrigin {
        try files.createDirectory(path)
        for name in ["config.json", "model.safetensors"] {
            try files.writeDurably(files.read(TinyRun.testsFolder.path + "/Reference/llama/" + name), to: path + "/" + name)
        }
        if let card { try files.writeDurably(card, to: path + "/README.md") }
        let recipe = try Recipe.resolve(file: nil, options: [("model", model ?? path)]).recipe
        return BaseOrigin(recipe: recipe, source: try ModelFiles.open(path, files: files), hasTemplate: true, files: files)
    }

    @Test func `the licence comes from the base's card, and nothing else is taken for one`() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: root) }
        var number = 0
        for (card, license) in [
            ("---\nlicense: Apache-2.0\n---\n", "apache-2.0"), ("---\r\nlicense: \"mit\"\r\n---\r\n", "mit"), ("---\nlicense:\n- a\n- b\n---\n", nil),
            ("# x\nlicense: mit\n", nil), ("---\ntags: []\n---\nlicense: mit\n", nil), ("---\nlicense: 'a b'\n---\n", nil), ("---\nlicense: mit\n", nil),
            (nil, nil),
        ] as [(String?, String?)] {
            number += 1
            let found = try origin("\(root)/\(number)", card: card)
            #expect(found.license?.identifier == license && found.name == "\(number)" && found.hubName == nil, "\(String(describing: card))")
            #expect(BaseOrigin(found.json) == found)
        }
        let other = try origin(root + "/other", card: "---\nlicense: other\nlicense_name: x\nlicense_link: https://x.org/l\n---\n")
        #expect(other.license == .init(identifier: "other", name: "x", link: "https://x.org/l") && BaseOrigin(other.json) == other)
        // A cache's folder, a name with a revision, an address.
        #expect(try origin(root + "/models--Qwen--Qwen3-0.6B/snapshots/abc").hubName == "Qwen/Qwen3-0.6B")
        for name in ["org/m", "org/m@v1", "hf://org/m", "https://huggingface.co/org/m"] {
            #expect(try origin(root + "/x", model: name).hubName == "org/m", "\(name)")
        }
    }

    // MARK: in a run's directory

    @Test func `cards are written with the results, again when they are missing, and an edited one stays`() throws {
        let run = try TinyRun()
        let first = try run.run(on: nil)
        #expect(first.error == nil)
        let (merged, adapter) = (try text(run, "merged"), try text(run, "adapter"))
        let loss = try #require(try run.json("summary.json")["transfer"]?["merged_loss"]?.double)
        #expect(merged.contains("| merged model | \(Figures.number(loss)) |") && adapter.contains("library_name: peft"))
        // Missing: the same text again, and nothing else is done.
        try files.remove(run.output + "/merged/README.md")
        let again = try run.run(on: nil)
        #expect(again.error == nil && again.count(.phase) == 0)
        #expect(try text(run, "merged") == merged)
        // Edited: it stays, also when the model is made again, and the run says where it is.
        try files.writeDurably(merged + "\nmine\n", to: run.output + "/merged/README.md")
        let edited = try run.run(on: nil)
        #expect(edited.error == nil && edited.count(.phase) == 0 && edited.texts.contains { $0.contains("merged/README.md has been edited") })
        #expect(try text(run, "merged") == merged + "\nmine\n")
        try files.remove(run.output + "/merged/config.json")
        #expect(try run.run(on: nil).texts.contains { $0.contains("merged.replaced") })
        #expect(try files.readText(run.output + "/merged.replaced/README.md") == merged + "\nmine\n" && text(run, "merged").contains("## Results"))
        #expect(try files.list(run.output + "/merged.replaced") == ["README.md"])
    }

    @Test func `a card that the run wrote goes with its part when that is made again`() throws {
        let run = try TinyRun()
        #expect(try run.run(on: nil).error == nil)
        try files.remove(run.output + "/merged/model.safetensors")
        #expect(try run.run(on: nil).error == nil)
        #expect(try !files.exists(run.output + "/merged.replaced") && text(run, "merged").contains("## Results"))
    }

    @Test func `killed at any change while a card is replaced, it is recognised and comes to the same text`() throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: path) }
        func parts(_ files: any Files) -> OutputParts { OutputParts(path: path, files: files) }
        try files.createDirectory(path + "/adapter")
        try files.writeDurably("x", to: path + "/adapter/adapter_config.json")
        try parts(files).recordIfNeeded(.adapter)
        for last in 1...30 {
            for end in DyingFiles.End.allCases {
                try? files.remove(path + "/adapter/README.md")
                try parts(files).write(card: "old", of: .adapter)
                let dying = DyingFiles(last: last, end: end)
                do {
                    try parts(dying).write(card: "new", of: .adapter)
                    #expect(dying.changes < last)
                } catch is LorikeetError {}
                let state = try parts(files).cardState(.adapter, "new")
                #expect(state == .due || state == .written, "change \(last), \(end)")
                if state == .due { try parts(files).write(card: "new", of: .adapter) }
                #expect(try parts(files).cardState(.adapter, "new") == .written && files.readText(path + "/adapter/README.md") == "new")
                #expect(try parts(files).cardSums(.adapter).count == 1 && parts(files).isWhole(.adapter))
            }
        }
    }
}
