import LorikeetDelivery
import LorikeetGround
import LorikeetJSON
import LorikeetReporting

/// What a model card says of a folder of GGUF files: which file to take, and the commands of llama.cpp and Ollama.
package struct GGUFCard {
    /// One file of the folder.
    package struct File: Equatable {
        let name: String
        /// nil for the adapter.
        let form: GGUFForm?
        let bytes: Int64
        /// Mean -log p on held-out records, of this file and of the merged model; nil where it was not measured.
        var loss: Double?
        var mergedLoss: Double?
        /// Whether it passed the run's test; nil where it was not tested.
        var pass: Bool?

        package init(name: String, form: GGUFForm?, bytes: Int64) { (self.name, self.form, self.bytes) = (name, form, bytes) }
    }

    private let files: [File]
    /// Names of the Modelfiles, by the file that they are of.
    private let modelfiles: [String: String]
    /// What Ollama shall call the model.
    private let ollamaName: String
    /// Whether the chat template stands in the folder as a file of its own.
    private let hasTemplate: Bool

    /// - Parameters:
    ///   - modelfiles: names of the folder's Modelfiles, each with its text.
    ///   - name: the model's.
    package init(files: [File], modelfiles: [(name: String, text: String)], name: String, hasTemplate: Bool = false) {
        self.hasTemplate = hasTemplate
        self.files = files.sorted { $0.bytes < $1.bytes }
        self.modelfiles = Dictionary(
            files.compactMap { file in modelfiles.first { $0.text.contains("FROM ./\(file.name)\n") }.map { (file.name, $0.name) } },
            uniquingKeysWith: { first, _ in first })
        ollamaName = ModelName.of(name).lowercased()
    }

    private var models: [File] { files.filter { $0.form != nil } }

    /// What was exported.
    package enum Content {
        /// A model as it is.
        case model
        /// A base with an adapter added to its weights; the adapter's name.
        case adapter(String)
        /// What a run merged.
        case merged
    }

    /// A card of its own for files that were exported from a model of which nothing else is known.
    ///
    /// - Parameters:
    ///   - title: the model's name, of a fine-tuned one its base's.
    ///   - base: `ORG/NAME` of the model on a hub; nil for one of this machine.
    package func text(title: String, base: String?, content: Content = .model) -> String {
        let (shown, programs) = (Markdown.code(base ?? title), "as GGUF files for llama.cpp and Ollama.")
        let (what, relation): (String, String) =
            switch content {
            case .model: ("\(shown) \(programs)", "quantized")
            case .adapter(let name) where models.isEmpty: ("The adapter \(Markdown.code(name)) of \(shown) as a GGUF file for llama.cpp.", "adapter")
            case .adapter(let name): ("\(shown) with the adapter \(Markdown.code(name)) added to its weights, \(programs)", "finetune")
            case .merged: ("\(shown), fine-tuned; the adapter is merged into the weights, \(programs)", "finetune")
            }
        let front = ["---"] + (base.map { ["base_model: \(JSON.string($0).serialized())", "base_model_relation: \(relation)"] } ?? [])
        let head = (front + ["library_name: gguf", "pipeline_tag: text-generation", "tags:", "- lorikeet", "- gguf", "---"]).joined(separator: "\n")
        let name = Markdown.text(title) + (relation == "quantized" ? "" : ", fine-tuned")
        return [head, "# \(name)\n\n\(what)\nMade with Lorikeet \(lorikeetVersion).", table, use].filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
    }

    // MARK: which file

    /// The files with their sizes and losses, and which to take; empty without a file.
    var table: String {
        guard !files.isEmpty else { return "" }
        let isMeasured = models.contains { $0.loss != nil }
        let rows = files.map { file -> [String] in
            let own = [Markdown.code(file.name), file.form?.label ?? "adapter", Units.formatBytes(file.bytes)]
            let loss = file.loss.map { Self.figure($0) } ?? (file.form == nil ? "" : "not tested")
            return isMeasured ? own + [file.pass == false ? "\(loss) (**fail**)" : loss] : own
        }
        let head = ["file", "form", "size"] + (isMeasured ? ["loss on held-out records"] : [])
        return "## Which file\n\n" + (failures + [advice].filter { !$0.isEmpty } + [Markdown.table(head, rows)]).joined(separator: "\n\n")
    }

    /// A sentence for each file that failed the run's test.
    private var failures: [String] {
        models.filter { $0.pass == false }.map { file in
            let losses = "loss \(file.loss.map(Self.figure) ?? "not measured"), the merged model's \(file.mergedLoss.map(Self.figure) ?? "not measured")"
            return "**\(Markdown.code(file.name)) failed the test**: \(losses)."
        }
    }

    /// By how much the loss of a file may exceed the merged model's to be called as good.
    static let small = 0.01

    private var advice: String {
        guard models.count > 1 else { return "" }
        let rule = "Take the largest file that fits into memory beside the context. Every form with fewer bits is smaller and faster, and costs accuracy."
        let good = models.first { file in
            guard file.pass != false, let loss = file.loss, let merged = file.mergedLoss else { return false }
            return loss <= merged + Self.small
        }
        return rule + (good.map { " The smallest whose loss is at most \(Self.small) above the merged model's is \(Markdown.code($0.name))." } ?? "")
    }

    // MARK: commands

    var use: String {
        var blocks: [String] = []
        if let file = models.last {
            let name = file.name.shellWord
            blocks.append(
                "With llama.cpp:\n\n"
                    + Markdown.block("sh", "llama-cli -m \(name)        # a conversation\nllama-server -m \(name)     # the web page and the API of a server"))
        }
        let modelled = models.filter { modelfiles[$0.name] != nil }
        if let file = modelled.last {
            var lines = modelled.map { other in
                let name = modelled.count == 1 ? ollamaName : ollamaName + ":" + (other.form?.rawValue ?? "")
                return "ollama create \(name) -f \(modelfiles[other.name] ?? "")"
            }
            lines.append("ollama run \(modelled.count == 1 ? ollamaName : ollamaName + ":" + (file.form?.rawValue ?? ""))")
            blocks.append("With Ollama, in this folder:\n\n" + Markdown.block("sh", lines.joined(separator: "\n")))
        }
        if let adapter = files.first(where: { $0.form == nil }) {
            // The base's GGUF has the base's own template, or none.
            let template = hasTemplate ? " --jinja --chat-template-file \(AdapterTemplate.file)" : ""
            blocks.append(
                "The adapter, beside a GGUF of the base model\(hasTemplate ? ", with the chat template that it was trained with" : ""):\n\n"
                    + Markdown.block("sh", "llama-cli -m path/to/the/base.gguf --lora \(adapter.name.shellWord)\(template)"))
        }
        return blocks.isEmpty ? "" : "## Use\n\n" + blocks.joined(separator: "\n\n")
    }

    private static func figure(_ value: Double) -> String { value.isFinite ? "\((value * 10_000).rounded() / 10_000)" : "not a finite number" }
}

extension ModelCard {
    /// The section about the files of `gguf/`; empty for the other parts.
    var exportedFiles: String { part == .gguf ? ggufCard.table : "" }

    var ggufCard: GGUFCard {
        GGUFCard(files: ggufFiles, modelfiles: modelfiles, name: shortName, hasTemplate: files.exists(place + "/" + AdapterTemplate.file))
    }

    var place: String { recipe.output + "/" + part.rawValue }

    private var ggufFiles: [GGUFCard.File] {
        let exports = summary["exports"]?.array ?? []
        return ((try? files.list(place)) ?? []).filter { $0.hasSuffix(".gguf") }.compactMap { name in
            guard let bytes = try? files.byteCount(of: place + "/" + name) else { return nil }
            let entry = exports.first { $0["file"]?.string.map(BaseOrigin.lastPart) == name }
            let form =
                entry?["form"]?.string.flatMap(GGUFForm.init(rawValue:))
                ?? GGUFForm.allCases.first { name.hasSuffix("-\($0.label).gguf") && !name.hasSuffix("-LoRA-\($0.label).gguf") }
            var file = GGUFCard.File(name: name, form: form, bytes: Int64(bytes))
            (file.loss, file.mergedLoss, file.pass) = (entry?["loss"]?.double, entry?["merged_loss"]?.double, entry?["pass"]?.bool)
            return file
        }
    }

    private var modelfiles: [(name: String, text: String)] {
        ((try? files.list(place)) ?? []).filter { $0.hasPrefix("Modelfile") }.compactMap { name in
            (try? files.readText(place + "/" + name)).map { (name, $0) }
        }
    }
}
