import LorikeetDatasets
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers

/// The chat template of a run.
extension Recipe {
    /// The recipe with the date that its chat template writes: the one that is set, else that of the run which it goes on with, else today's (UTC). It
    /// is written to run.yaml, so that a run that goes on another day makes the same samples.
    ///
    /// With `fit` it also has what that run was fitted to (`fitted`).
    package func dated(files: any Files, clock: any Clock) -> Recipe {
        let recipe = fitted(files: files)
        guard templateDate == nil else { return recipe }
        let earlier = output + "/run.yaml"
        var dated = recipe
        if files.exists(earlier), let recipe = try? Recipe.resolve(file: earlier, options: [], files: files).recipe {
            // A run of a version without dates goes on without one.
            guard let date = recipe.templateDate else { return dated }
            dated.set("template_date", .text(date))
        } else {
            dated.set("template_date", .text(Recipe.date(ofSeconds: clock.now)))
        }
        return dated
    }

    /// The date that the template writes, in seconds since 1970 (UTC).
    package var templateSeconds: Double? { templateDate.flatMap(Recipe.seconds(ofDate:)) }

    /// The template that the recipe asks for, or the model's own.
    func template(for tokenizer: Tokenizer, model: String, files: any Files) throws -> ChatTemplate.Choice {
        try ChatTemplate.choose(chatTemplate, for: tokenizer, model: model, now: templateSeconds, files: files)
    }

    /// A warning where the adapter that training starts from was trained with another template than this run's.
    func startWarning(_ choice: ChatTemplate.Choice, _ tokenizer: Tokenizer, model: String, files: any Files) throws -> String? {
        guard let start = initAdapter, try AdapterTemplate(of: start, files: files).differs(from: choice.source, for: tokenizer, model: model) else {
            return nil
        }
        return "\(start): the adapter was trained with another chat template than this run trains with: to go on with its own, name that one as chat_template"
    }
}

extension Preparation {
    package var template: ChatTemplate? { choice.template }

    /// The text that ends a turn where the template says it.
    var endOfTurn: String? { choice.builtIn?.endOfTurn }

    /// What is written beside the merged model where the recipe names a template.
    var mergedTemplate: String? { recipe.chatTemplate == nil ? nil : choice.source }

    /// A warning where the template's markers are no single tokens of the model's.
    func templateWarning() throws -> String? {
        guard let builtIn = choice.builtIn else { return nil }
        let missing = try builtIn.missingTokens(in: tokenizer)
        guard !missing.isEmpty else { return nil }
        return "the model has no single token for \(missing.joined(separator: ", ")) of the template \(builtIn.name): it learns them from their pieces, "
            + "and generation does not stop at them by itself"
    }

    /// What decides the samples beside the data and its settings, for the store: this program, the tokenizer's files, the template and its date.
    func sampleIdentity(_ files: any Files, cpu: CPU) throws -> String {
        let program = try ContentHash(ofFile: "/proc/self/exe", files: files) { count, body in cpu.parallel(over: count, body) }
        var parts = ["program " + program.description]
        if source.isGGUF {
            // The metadata stand before the tensors of each file.
            var metadata: [String: TensorView] = [:]
            for tensor in source.files.tensors.values where tensor.offset < metadata[tensor.file.path]?.offset ?? .max { metadata[tensor.file.path] = tensor }
            for (path, first) in metadata.sorted(by: { $0.key < $1.key }) {
                let sum = ContentHash(of: UnsafeRawBufferPointer(rebasing: first.file.bytes[..<first.offset]))
                parts.append("metadata \(path.debugDescription) \(sum)")
            }
        } else {
            let endings = [".json", ".jinja", ".txt", ".model"]
            for name in try files.list(source.path) where endings.contains(where: name.hasSuffix) && !name.hasSuffix(".index.json") {
                parts.append("\(name.debugDescription) " + (try ContentHash(ofFile: source.path + "/" + name, files: files)).description)
            }
        }
        let text = ([choice.source ?? ""] + [tokenizer.chatTemplates.toolUse ?? ""]).joined(separator: "\n")
        parts.append("template " + ContentHash(of: Array(text.utf8)).description)
        if text.contains("strftime_now") { parts.append("date " + (recipe.templateDate ?? "none")) }
        return parts.joined(separator: "\n")
    }
}
