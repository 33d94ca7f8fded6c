import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles

/// The chat templates that a model comes with: name → text. The usual one is called `default`; some models have others, such as `tool_use`.
package struct ChatTemplateSources: Sendable, Equatable {
    package private(set) var templates: [String: String] = [:]

    package init(standard: String? = nil) {
        if let standard { templates["default"] = standard }
    }

    /// The value of `chat_template` in a `tokenizer_config.json`: one text, or a list of names and texts.
    ///
    /// - Throws: exit 2 where it is neither.
    private mutating func add(setting: JSON?, source: String) throws {
        switch setting {
        case nil, .null?: break
        case .string(let text)?: templates["default"] = text
        case .array(let list)?:
            for entry in list {
                guard let name = entry["name"]?.string, let text = entry["template"]?.string else {
                    throw LorikeetError.input("a chat template in the list has no name or no text", at: source, fix: "write “name” and “template” as texts")
                }
                templates[name] = text
            }
        default: throw LorikeetError.input("“chat_template” is neither a text nor a list of templates", at: source)
        }
    }

    /// The templates of a Hugging Face directory, as transformers finds them: `chat_template.jinja` and `additional_chat_templates/NAME.jinja`,
    /// which take the place of all that `tokenizer_config.json` has; else that file's; else `chat_template.json` (older processors).
    package init(directory: String, settings: JSON?, files: any Files) throws {
        let file = directory + "/chat_template.jinja"
        if files.exists(file) { templates["default"] = try templateText(file, files) }
        let folder = directory + "/additional_chat_templates"
        if files.isDirectory(folder) {
            for name in try files.list(folder).sorted() where name.hasSuffix(".jinja") {
                templates[String(name.dropLast(".jinja".count))] = try templateText(folder + "/" + name, files)
            }
        }
        guard templates.isEmpty else { return }
        try add(setting: settings?["chat_template"], source: directory + "/tokenizer_config.json")
        let older = directory + "/chat_template.json"
        if templates.isEmpty, files.exists(older) {
            try add(setting: JSON.parse(files.read(older), source: older)["chat_template"], source: older)
        }
    }

    /// The templates in a GGUF's metadata: `tokenizer.chat_template` and `tokenizer.chat_template.NAME`.
    package init(gguf: GGUFFile) throws {
        let key = "tokenizer.chat_template"
        for (name, value) in gguf.metadata where name == key || name.hasPrefix(key + ".") {
            guard let text = value.string else { throw LorikeetError.input("“\(name)” is not a text", at: gguf.path) }
            templates[name == key ? "default" : String(name.dropFirst(key.count + 1))] = text
        }
    }

    /// What is used unless something else is asked for: the template called `default`, or the only one there is.
    package var standard: String? { templates["default"] ?? (templates.count == 1 ? templates.first?.value : nil) }

    /// What conversations with tools are written by, where it is another one.
    package var toolUse: String? { templates["default"] == nil ? nil : templates["tool_use"] }

    package var names: [String] { templates.keys.sorted() }
}

extension ChatTemplate {
    /// The template that a recipe asks for, and whether it is a built-in one.
    package struct Choice: Sendable {
        /// nil where nothing is asked for and the model has none.
        package let template: ChatTemplate?
        /// The template's text, as it is written beside a merged model.
        package let source: String?
        /// The built-in format, where that is it: its end of turn has to be trained and stopped at.
        package let builtIn: BuiltInTemplate?

        /// No template.
        package static let none = Choice(template: nil, source: nil, builtIn: nil)

        init(template: ChatTemplate?, source: String?, builtIn: BuiltInTemplate?) {
            (self.template, self.source, self.builtIn) = (template, source, builtIn)
        }

        /// The standard template of other files than the model's. One with the text of a built-in template is that template.
        ///
        /// - Parameters:
        ///   - name: what errors call the template.
        ///   - now: see `ChatTemplate.init`.
        /// - Throws: exit 2 where it cannot be parsed.
        package init(_ sources: ChatTemplateSources, name: String, for tokenizer: Tokenizer, now: Double?) throws {
            template = try sources.standard.map {
                try ChatTemplate($0, toolSource: sources.toolUse, name: name, specialTokens: tokenizer.namedTokens, now: now)
            }
            source = sources.standard
            builtIn = BuiltInTemplate.all.first { $0.source == sources.standard }
        }
    }

    /// - Parameters:
    ///   - wanted: nil for the model's own; a file (`./chat.jinja`); a name of one of the model's templates; or a name of a built-in one.
    ///   - model: what errors call the model.
    ///   - now: see `init`.
    /// - Throws: exit 2 where there is no such template, or it cannot be parsed.
    package static func choose(
        _ wanted: String?, for tokenizer: Tokenizer, model: String, now: Double?, files: any Files = RealFiles()
    ) throws -> Choice {
        let own = tokenizer.chatTemplates
        func choice(_ source: String, _ name: String, toolSource: String? = nil, builtIn: BuiltInTemplate? = nil) throws -> Choice {
            let template = try ChatTemplate(source, toolSource: toolSource, name: name, specialTokens: tokenizer.namedTokens, now: now)
            return Choice(template: template, source: source, builtIn: builtIn)
        }
        guard let wanted else {
            if let source = own.standard { return try choice(source, "chat template of \(model)", toolSource: own.toolUse) }
            guard own.templates.isEmpty else {
                throw LorikeetError.input(
                    "the model has several chat templates and none is called default: \(own.names.joined(separator: ", "))", at: model,
                    fix: "name one of them")
            }
            return Choice(template: nil, source: nil, builtIn: nil)
        }
        if wanted.holdsSlash || wanted.hasSuffix(".jinja") {
            guard files.exists(wanted) else { throw LorikeetError.input("there is no such chat template file", at: wanted) }
            return try choice(try templateText(wanted, files), wanted)
        }
        if let source = own.templates[wanted] { return try choice(source, "chat template “\(wanted)” of \(model)") }
        if let builtIn = named(wanted) { return try choice(builtIn.source, "built-in chat template “\(wanted)”", builtIn: builtIn) }
        if files.exists(wanted) { return try choice(try templateText(wanted, files), wanted) }
        let owned = own.names.isEmpty ? "the model has none" : "the model has \(own.names.joined(separator: ", "))"
        throw LorikeetError.input(
            "there is no chat template “\(wanted)”", at: "chat_template",
            fix: "give a .jinja file or a name: \(owned); built in are \(builtInNames.joined(separator: ", "))")
    }
}

/// A template file's text.
///
/// - Throws: exit 2 for a file that is not UTF-8.
private func templateText(_ path: String, _ files: any Files) throws -> String {
    guard let text = String(validating: try files.read(path), as: UTF8.self) else {
        throw LorikeetError.input("the chat template is not UTF-8", at: path, fix: "save it as UTF-8")
    }
    return text
}
