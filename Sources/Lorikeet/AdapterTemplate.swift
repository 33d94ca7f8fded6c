import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe
import LorikeetTokenizers

/// The chat template that an adapter was trained with. An adapter's conversations have to be written as in its training; with the base's own template a
/// model that learnt another one answers wrongly.
///
/// It stands in the adapter's folder, as a run, transformers and TRL write it: `chat_template.jinja`, `additional_chat_templates/`, or the
/// `chat_template` of a `tokenizer_config.json`. For a folder without one, the recipe of the run that it lies in decides. Where neither is there,
/// the base's own template is used, and `warning` says so.
package struct AdapterTemplate {
    /// The file of the template in a folder that a run writes.
    package static let file = "chat_template.jinja"

    private let adapter: String
    private let own: ChatTemplateSources
    private let run: Recipe?
    private let files: any Files

    /// - Parameter adapter: a PEFT folder.
    /// - Throws: exit 2 where a file in it that holds a template cannot be read.
    package init(of adapter: String, files: any Files = RealFiles()) throws {
        let place = adapter + "/tokenizer_config.json"
        let settings = files.exists(place) ? try JSON.parse(files.read(place), source: place) : nil
        own = try ChatTemplateSources(directory: adapter, settings: settings, files: files)
        run = OutputDirectory.recipe(ofAdapter: adapter, files: files)
        (self.adapter, self.files) = (adapter, files)
    }

    /// The template of conversations with the adapter; without a template where it has none and the base has none.
    ///
    /// - Parameters:
    ///   - tokenizer: the base's.
    ///   - model: what errors call the base.
    ///   - now: the date that the template writes, in seconds since 1970 (UTC); where the adapter lies in its run, that run's.
    /// - Throws: exit 2 where the template cannot be parsed, or is a file that the run's recipe names and that is not there any more.
    func choice(for tokenizer: Tokenizer, model: String, now: Double?) throws -> ChatTemplate.Choice {
        let now = run?.templateSeconds ?? now
        if let text = own.standard {
            // The base's own text is used as the base's own, with the other templates that belong to it.
            guard text != tokenizer.chatTemplateSource else { return try ChatTemplate.choose(nil, for: tokenizer, model: model, now: now, files: files) }
            return try ChatTemplate.Choice(own, name: "chat template of \(adapter)", for: tokenizer, now: now)
        }
        guard run?.chatTemplate != nil || tokenizer.chatTemplateSource != nil else { return .none }
        return try ChatTemplate.choose(run?.chatTemplate, for: tokenizer, model: model, now: now, files: files)
    }

    /// Whether the adapter's folder or its run says which template it was trained with.
    var isKnown: Bool { own.standard != nil || run != nil }

    /// The text that takes the place of the base's own template where the adapter is merged into the base; nil where the base's own stays.
    package func replacement(for tokenizer: Tokenizer, model: String) throws -> String? {
        guard own.standard != nil || run?.chatTemplate != nil else { return nil }
        let source = try choice(for: tokenizer, model: model, now: nil).source
        return source == tokenizer.chatTemplateSource ? nil : source
    }

    /// A warning where the template is not known, and the base's own is used instead.
    package func warning(for tokenizer: Tokenizer) -> String? {
        guard !isKnown, tokenizer.chatTemplateSource != nil else { return nil }
        return "\(adapter): the adapter does not say which chat template it was trained with (it has no \(Self.file), and lies in no run's directory): "
            + "the base model's own is used. If that is another one, put the right one there as \(Self.file)"
    }

    /// Whether the adapter is known to have been trained with another template than this text.
    func differs(from source: String?, for tokenizer: Tokenizer, model: String) -> Bool {
        // A template that cannot be read any more is not known.
        guard isKnown, let theirs = try? choice(for: tokenizer, model: model, now: nil).source else { return false }
        return theirs != source
    }
}

/// The chat template of a base with an adapter merged into it.
package struct MergedTemplate {
    /// The adapter's template, which takes the place of the base's own; nil where the base's own stays.
    package let replacement: String?
    /// The template that goes with the result; nil where there is none.
    package let text: String?
    package let warnings: [String]

    /// - Parameter adapter: a PEFT folder; nil is the base alone.
    /// - Throws: as `AdapterTemplate`. A base without a tokenizer has no template; what writes it says so.
    package init(adapter: String?, base: ModelSource, files: any Files = RealFiles()) throws {
        let tokenizer: Tokenizer
        do { tokenizer = try Tokenizer.load(from: base.files, files: files) } catch let error as LorikeetError where error.exit == .unusableInput {
            (replacement, text, warnings) = (nil, nil, [])
            return
        }
        let trained = try adapter.map { try AdapterTemplate(of: $0, files: files) }
        replacement = try trained?.replacement(for: tokenizer, model: base.path)
        text = replacement ?? tokenizer.chatTemplateSource
        warnings = [trained?.warning(for: tokenizer)].compactMap { $0 }
    }
}

extension OutputDirectory {
    /// The recipe of the run that an adapter lies in: of `adapter/`, or of a checkpoint in `checkpoints/`.
    static func recipe(ofAdapter folder: String, files: any Files = RealFiles()) -> Recipe? {
        let folder = RealFiles.absolute(folder)
        if let recipe = recipe(ofPart: folder, files: files) { return recipe }
        let parent = RealFiles.parent(of: folder)
        return BaseOrigin.lastPart(parent) == "checkpoints" ? recipe(ofPart: parent, files: files) : nil
    }
}
