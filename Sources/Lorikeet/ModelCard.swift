import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetRecipe
import LorikeetReporting

/// The model card (`README.md`) of a folder that a run delivers: front matter that a hub reads, and what was trained, how, and what came of it.
///
/// The text follows from the recipe and the summary alone, and has no times: a run that was killed and gone on with writes the same bytes as an
/// undisturbed one. Paths are cut to their last part, and no record of the data is shown: a card is made to
/// be published.
struct ModelCard {
    let part: OutputParts.Part
    let recipe: Recipe
    /// `summary.json`.
    let summary: JSON
    let files: any Files

    private var base: BaseOrigin { BaseOrigin(summary["base"]) ?? BaseOrigin(name: recipe.model ?? "?") }
    private var isQuantised: Bool { summary["base_storage"]?.string == "nf4" || summary["base_has_own_codes"]?.bool == true }
    private var method: String { isQuantised ? "QLoRA" : "LoRA" }
    /// Data sets on a hub, each once.
    private var dataSets: [String] {
        var names: [String] = []
        for name in recipe.data.compactMap({ BaseOrigin.hubName($0, kind: .dataset, files: files) }) where !names.contains(name) { names.append(name) }
        return names
    }

    func text() -> String {
        let sections = [frontMatter, title, exportedFiles, results, training, machine, use, repetition].filter { !$0.isEmpty }
        return sections.joined(separator: "\n\n") + "\n"
    }

    // MARK: front matter

    private var frontMatter: String {
        func quoted(_ text: String) -> String { KeyValue.text(text).yaml }
        var lines = ["---"]
        if let name = base.hubName {
            lines += ["base_model: \(quoted(name))", "base_model_relation: \(part == .adapter ? "adapter" : "finetune")"]
        }
        let libraries: [OutputParts.Part: String] = [.adapter: "peft", .gguf: "gguf"]
        lines += ["library_name: \(libraries[part] ?? "transformers")", "pipeline_tag: text-generation"]
        if let license = base.license {
            lines.append("license: \(quoted(license.identifier))")
            if let name = license.name { lines.append("license_name: \(quoted(name))") }
            if let link = license.link { lines.append("license_link: \(quoted(link))") }
        }
        if !dataSets.isEmpty { lines += ["datasets:"] + dataSets.map { "- \(quoted($0))" } }
        let tags: [OutputParts.Part: [String]] = [.gguf: ["- gguf"], .bitsAndBytes: ["- bitsandbytes", "- 4-bit"]]
        lines += ["tags:", "- lorikeet", "- lora"] + (isQuantised ? ["- qlora"] : []) + (tags[part] ?? []) + ["---"]
        return lines.joined(separator: "\n")
    }

    // MARK: sections

    var shortName: String { BaseOrigin.lastPart(base.name) }
    private var dataName: String {
        let names = recipe.data.map { BaseOrigin.hubName($0, kind: .dataset, files: files) ?? BaseOrigin.lastPart($0) }
        return names.prefix(3).map(Markdown.code).joined(separator: ", ") + (names.count > 3 ? " and \(names.count - 3) more" : "")
    }

    private var title: String {
        let base = Markdown.code(base.name)
        let merged = "\(base), fine-tuned with \(method) on \(dataName); the adapter is merged into the weights (\(recipe.mergeDtype))"
        let what =
            switch part {
            case .adapter: "A PEFT adapter for \(base), trained with \(method) on \(dataName)."
            case .merged: merged + "."
            case .gguf: merged + " and written as GGUF files for llama.cpp and Ollama."
            case .bitsAndBytes: merged + " and the linears are quantised to bitsandbytes' NF4, for transformers and vLLM."
            }
        return "# \(Markdown.text(shortName)), fine-tuned\n\n\(what)\nMade with Lorikeet \(lorikeetVersion)."
    }

    private var results: String {
        func loss(_ value: JSON?) -> String { value?.double.map { Figures.number($0) } ?? "not tested" }
        func share(_ value: JSON?) -> String { value?.double.map { Figures.percent($0) } ?? "not tested" }
        var rows: [[String]] = []
        let transfer = summary["transfer"]
        if summary["merged_matches_adapter"] != nil {
            rows.append(["base model", loss(summary["validation_loss_before"]), share(summary["answers_right_before"])])
            rows.append(["base model with the adapter", loss(summary["validation_loss_after"]), share(summary["answers_right_with_adapter"])])
            rows.append(["merged model", loss(transfer?["merged_loss"]), share(summary["answers_right_after"])])
        } else {
            rows.append(["base model with the adapter", loss(summary["validation_loss_after"]), "not tested"])
        }
        var text = "## Results\n\nOn held-out records; right answers are those given word for word, greedily.\n\n"
        text += Markdown.table(["model", "loss", "right answers"], rows)
        let proofs = proofRows
        if !proofs.isEmpty { text += "\n\n" + Markdown.table(["proof", "result", "measured"], proofs) }
        return text
    }

    private var proofRows: [[String]] {
        func verdict(_ proof: JSON) -> String {
            switch proof["pass"]?.bool {
            case true?: "pass"
            case false?: "**fail**"
            case nil: "not tested"
            }
        }
        func number(_ value: JSON?) -> String { Figures.number(value?.double) }
        var rows: [[String]] = []
        if let proof = summary["merged_matches_adapter"] {
            rows.append(["merged model = base + adapter", verdict(proof), "largest difference of a logit \(number(proof["max_logit_difference"]))"])
        }
        if let proof = summary["transfer"] {
            rows.append([
                "merged model as good as the trained form", verdict(proof),
                "loss \(number(proof["merged_loss"])) against \(number(proof["trained_form_loss"]))",
            ])
        }
        if let proof = summary["sidecar"] {
            rows.append(["same tokens and template in this folder", verdict(proof), "\(proof["texts"]?.int ?? 0) texts"])
        }
        for export in summary["exports"]?.array ?? [] {
            guard let form = export["form"]?.string.flatMap(TestedForm.init(name:)), form.part == part else { continue }
            let losses = "loss \(number(export["loss"])) against \(number(export["merged_loss"]))"
            rows.append([form.title + (form.isExact ? " = base + adapter" : " as good as the merged model"), verdict(export), losses])
        }
        return rows
    }

    private var training: String {
        func count(_ value: JSON?) -> String { value?.int.map { "\($0)" } ?? "?" }
        let lora = recipe.lora
        let length = recipe.maxSteps > 0 ? "" : ", \(Figures.number(recipe.numTrainEpochs)) epochs"
        let warmup = recipe.warmupSteps > 0 ? "\(recipe.warmupSteps) steps" : "\(Figures.percent(recipe.warmupRatio))"
        let rows = [
            ["steps", "\(count(summary["steps"]))\(length); \(count(summary["trained_tokens"])) tokens with a loss"],
            [
                "samples of a step",
                "\(recipe.perDeviceTrainBatchSize * recipe.gradientAccumulationSteps) (\(recipe.perDeviceTrainBatchSize) × \(recipe.gradientAccumulationSteps))",
            ],
            ["LoRA", "r \(lora.r), alpha \(Figures.number(lora.loraAlpha)), dropout \(lora.loraDropout)\(lora.useRslora ? ", rank-stabilised" : "")"],
            ["adapted modules", lora.targetModules.map(Markdown.code).joined(separator: ", ")],
            ["base held as", Markdown.code(storage)],
            ["learning rate", "\(recipe.learningRate), \(recipe.lrSchedulerType), warm-up \(warmup)"],
            ["optimiser", "AdamW, weight decay \(recipe.weightDecay), largest gradient norm \(recipe.maxGradNorm)"],
            ["tokens of a sample", "at most \(recipe.maxLength)"], ["seed", "\(recipe.seed)"],
        ]
        return "## Training\n\n" + Markdown.table(["", ""], rows)
    }

    private var storage: String {
        summary["base_has_own_codes"]?.bool == true ? "the codes of its file" : summary["base_storage"]?.string ?? recipe.baseStorage
    }

    private var machine: String {
        var rows: [[String]] = []
        if let processor = summary["machine"]?["processor"]?.string {
            rows.append(["processor", Markdown.text(processor) + (summary["machine"]?["threads"]?.int.map { ", \($0) threads" } ?? "")])
        }
        if let card = summary["machine"]?["card"]?.string { rows.append(["card", Markdown.text(card)]) }
        guard !rows.isEmpty else { return "" }
        return "## Machine\n\n" + Markdown.table(["", ""], rows)
    }
}

extension BaseOrigin {
    /// For the summary of an older version, which does not name the base.
    fileprivate init(name: String) { (self.name, hubName, license) = (Self.lastPart(name), nil, nil) }
}
