import LorikeetDatasets
import LorikeetEngine
import LorikeetGround
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers

/// The chat template of a run.
extension Recipe {
    /// The recipe with the date that its chat template writes: the one that is set, else that of the run which it goes on with, else today's (UTC). It
    /// is written to run.yaml, so that a run that goes on another day makes the same samples.
    package func dated(files: any Files, clock: any Clock) -> Recipe {
        guard templateDate == nil else { return self }
        let earlier = output + "/run.yaml"
        var dated = self
        if files.exists(earlier), let recipe = try? Recipe.resolve(file: earlier, options: [], files: files).recipe {
            // A run of a version without dates goes on without one.
            guard let date = recipe.templateDate else { return self }
            dated.set("template_date", .text(date))
        } else {
            dated.set("template_date", .text(Recipe.date(ofSeconds: clock.now)))
        }
        return dated
    }

    /// The text of the recipe's template, or of the model's own; nil where there is none.
    func templateSource(for tokenizer: Tokenizer, files: any Files) throws -> String? {
        guard let name = chatTemplate else { return tokenizer.chatTemplateSource }
        if files.exists(name) { return try files.readText(name) }
        throw LorikeetError.input(
            "no such template file", at: "chat_template: \(name)",
            fix: "name a file with a Jinja template")
    }

    func template(for tokenizer: Tokenizer, model: String, files: any Files) throws -> ChatTemplate? {
        try templateSource(for: tokenizer, files: files).map {
            try ChatTemplate(
                $0, name: chatTemplate.map { "chat template \($0)" } ?? "chat template of \(model)", specialTokens: tokenizer.namedTokens,
                now: templateDate.flatMap(Recipe.seconds(ofDate:)))
        }
    }
}

extension Preparation {
    /// What decides the samples beside the data and its settings, for the store: this program, the tokenizer's files, the template and its date.
    func sampleIdentity(_ files: any Files) throws -> String {
        var parts = ["program " + (try ContentHash(ofFile: "/proc/self/exe", files: files)).description]
        if source.isGGUF {
            // The metadata stands before the tensors.
            let tensors = source.files.tensors.values
            if let first = tensors.min(by: { $0.offset < $1.offset }) {
                parts.append("metadata " + ContentHash(of: UnsafeRawBufferPointer(rebasing: first.file.bytes[..<first.offset])).description)
            }
        } else {
            let endings = [".json", ".jinja", ".txt", ".model"]
            for name in try files.list(source.path) where endings.contains(where: name.hasSuffix) && !name.hasSuffix(".index.json") {
                parts.append("\(name.debugDescription) " + (try ContentHash(ofFile: source.path + "/" + name, files: files)).description)
            }
        }
        let text = try recipe.templateSource(for: tokenizer, files: files) ?? ""
        parts.append("template " + ContentHash(of: Array(text.utf8)).description)
        if text.contains("strftime_now") { parts.append("date " + (recipe.templateDate ?? "none")) }
        return parts.joined(separator: "\n")
    }
}
