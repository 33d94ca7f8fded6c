import LorikeetGround
import LorikeetHub
import LorikeetJSON
import LorikeetModelFiles
import LorikeetRecipe

/// What is known of a base model beside its weights: its name, its place on a hub and its licence. Nothing is guessed: what the files do not say is nil.
struct BaseOrigin: Equatable {
    /// What people call it: `ORG/NAME`, or the name of its file or folder without the path, which has a meaning on this machine only.
    var name: String
    /// `ORG/NAME` on a hub.
    var hubName: String?
    var license: License?
    var hasTemplate = false
    /// Ids of the tokens that end an answer.
    var endTokens: [Int32] = []

    struct License: Equatable {
        /// An identifier such as `apache-2.0`, or `other`.
        var identifier: String
        /// The name and the web address of a licence whose identifier is `other`.
        var name: String?
        var link: String?
    }

    init(recipe: Recipe, source: ModelFiles, hasTemplate: Bool, files: any Files) {
        let said = recipe.model ?? source.path
        hubName = Self.hubName(said, kind: .model, files: files) ?? Self.cachedName(source.path) ?? source.gguf.flatMap(Self.originalName)
        name = hubName ?? Self.lastPart(said)
        license = source.gguf.map(Self.license) ?? Self.license(ofCard: source.path + "/README.md", files: files)
        self.hasTemplate = hasTemplate
    }

    /// `ORG/NAME` where a recipe's text names something on a hub, and not a path of this machine.
    static func hubName(_ text: String, kind: HubName.Kind, files: any Files) -> String? {
        guard !files.exists(text), HubName.looksLikeOne(text) || WebAddress(text) != nil else { return nil }
        return try? HubName(text, kind: kind).id
    }

    /// The last part of a path: a card is read elsewhere, and the folders above say more of a machine than of a model.
    static func lastPart(_ path: String) -> String { path.lastPathPart ?? path }

    /// `ORG/NAME` of a folder `models--ORG--NAME` of the hub's cache.
    static func cachedName(_ path: String) -> String? {
        guard let folder = path.pathParts.last(where: { $0.hasPrefix("models--") }) else { return nil }
        let name = folder.dropFirst("models--".count).replacing("--", with: "/")
        return try? HubName(String(name), kind: .model).id
    }

    /// The repository from which a GGUF says it was made.
    private static func originalName(_ gguf: GGUFFile) -> String? {
        for key in ["general.source.repo_url", "general.repo_url"] {
            guard let text = gguf.metadata[key]?.string, WebAddress(text) != nil, let name = try? HubName(text, kind: .model) else { continue }
            return name.id
        }
        return nil
    }

    private static func license(_ gguf: GGUFFile) -> License? {
        func text(_ key: String) -> String? { gguf.metadata["general.license" + key]?.string }
        return text("").flatMap(identifier).map { License(identifier: $0, name: text(".name"), link: text(".link").flatMap(link)) }
    }

    /// The licence in the front matter of the base's own model card.
    private static func license(ofCard path: String, files: any Files) -> License? {
        guard let value = frontMatter(ofCard: path, files: files) else { return nil }
        return value("license").flatMap(identifier).map { License(identifier: $0, name: value("license_name"), link: value("license_link").flatMap(link)) }
    }

    /// `ORG/NAME` of the base that a model's card names.
    static func base(ofCard path: String, files: any Files) -> String? {
        frontMatter(ofCard: path, files: files)?("base_model").flatMap { try? HubName($0, kind: .model).id }
    }

    /// The values of a model card's front matter by their keys; nil without a card that has one.
    private static func frontMatter(ofCard path: String, files: any Files) -> ((_ key: String) -> String?)? {
        guard files.exists(path), !files.isDirectory(path), let text = try? files.readText(path) else { return nil }
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        guard lines.first == "---", let end = lines.dropFirst().firstIndex(of: "---") else { return nil }
        return { key in
            guard let line = lines[1..<end].first(where: { $0.hasPrefix(key + ":") }) else { return nil }
            let said = String(line.dropFirst(key.count + 1)).trimmed
            for quote in ["\"", "'"] where said.count > 1 && said.hasPrefix(quote) && said.hasSuffix(quote) { return String(said.dropFirst().dropLast()) }
            return said.isEmpty ? nil : said
        }
    }

    private static func identifier(_ text: String) -> String? { text.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9.+_-]{0,60}/) == nil ? nil : text.lowercased() }
    private static func link(_ text: String) -> String? { WebAddress(text) == nil ? nil : text }

    // MARK: in summary.json

    var json: JSON {
        var object: JSONObject = ["name": .string(name), "chat_template": .bool(hasTemplate)]
        if !endTokens.isEmpty { object["end_tokens"] = .array(endTokens.map { JSON(Int($0)) }) }
        object["hub_name"] = hubName.map { .string($0) }
        object["license"] = license.map { .string($0.identifier) }
        object["license_name"] = license?.name.map { .string($0) }
        object["license_link"] = license?.link.map { .string($0) }
        return .object(object)
    }

    init?(_ json: JSON?) {
        guard let json, let name = json["name"]?.string else { return nil }
        (self.name, hubName, hasTemplate) = (name, json["hub_name"]?.string, json["chat_template"]?.bool ?? false)
        endTokens = json["end_tokens"]?.array?.compactMap { $0.int.flatMap(Int32.init(exactly:)) } ?? []
        license = json["license"]?.string.map { License(identifier: $0, name: json["license_name"]?.string, link: json["license_link"]?.string) }
    }
}
