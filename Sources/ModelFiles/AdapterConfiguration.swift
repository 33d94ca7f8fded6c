import LorikeetGround
import LorikeetJSON

/// `adapter_config.json` of PEFT: a plain LoRA adapter, base + scale · B A on some linears. The accepted settings are the table of
/// `AdapterSettings`; every other one is refused by name.
package struct AdapterConfiguration: Sendable, Equatable {
    package var r: Int
    package var alpha: Double
    package var dropout: Double
    /// Names, or endings of names, of the modules to adapt; `["all-linear"]` for every linear. Empty where `target_modules` is an expression
    /// (`targets.pattern`) or absent (`targets.isUnknown`).
    package var targetModules: [String]
    package var useRSLoRA: Bool
    package var baseModel: String?
    /// The settings other than `targetModules` that choose modules.
    var targets = AdapterTargets()
    /// Ranks and alphas of single modules, in the file's order: the first that matches counts.
    var ranks: [AdapterPattern] = []
    var alphas: [AdapterPattern] = []

    /// The settings of an adapter that training made: one rank and scale for all modules.
    ///
    /// - Parameters:
    ///   - r: the rank, from 1 on.
    ///   - alpha: `lora_alpha`; the scale is alpha / r, with `useRSLoRA` alpha / sqrt(r).
    ///   - dropout: `lora_dropout`, a share from 0 to 1.
    ///   - targetModules: names, or endings of names, of the adapted linears; `["all-linear"]` for every one.
    ///   - baseModel: `base_model_name_or_path`.
    package init(r: Int, alpha: Double, dropout: Double, targetModules: [String], useRSLoRA: Bool = false, baseModel: String? = nil) {
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.targetModules = targetModules
        self.useRSLoRA = useRSLoRA
        self.baseModel = baseModel
    }

    private static let (rankRange, alphaRange) = (1.0...4096.0, -1e9...1e9)

    /// Defaults are those of PEFT's `LoraConfig`.
    ///
    /// - Throws: exit 2 for other adapters than LoRA, for LoRA variants, settings and values that are not supported, by name; for numbers
    ///   out of range.
    init(json: JSON, source: String) throws {
        let reader = try AdapterSettings(json, source)
        r = try reader.whole("r", default: 8, Self.rankRange)
        alpha = try reader.number("lora_alpha", default: 8, Self.alphaRange)
        dropout = try reader.number("lora_dropout", default: 0, 0...1)
        useRSLoRA = try reader.flag("use_rslora")
        baseModel = try reader.text("base_model_name_or_path")
        (targetModules, targets) = try reader.targets()
        ranks = try reader.patterns("rank_pattern", Self.rankRange, whole: true)
        alphas = try reader.patterns("alpha_pattern", Self.alphaRange, whole: false)
    }

    /// Whether the settings put an adapter on a module, as PEFT's `check_target_module_exists` decides it.
    ///
    /// - Parameter module: a linear's full name, such as `model.layers.0.self_attn.q_proj`.
    package func wraps(_ module: String) throws -> Bool { try targets.wraps(module, targetModules) }

    /// The module's rank: PEFT's `r`, or that of the first entry of `rank_pattern` that matches.
    package func rank(of module: String) throws -> Int { try ranks.first { try $0.matches(module) }.map { Int($0.value) } ?? r }

    /// The module's `lora_alpha`, or that of the first entry of `alpha_pattern` that matches.
    package func alpha(of module: String) throws -> Double { try alphas.first { try $0.matches(module) }?.value ?? alpha }

    /// `adapter_config.json` as PEFT reads it. PEFT takes its own defaults for keys that are not in it.
    package var json: JSON {
        func number(_ value: Double) -> JSON { Int64(exactly: value).map { .integer($0) } ?? .number(value) }
        func patterns(_ list: [AdapterPattern]) -> JSON { .object(JSONObject(list.map { ($0.key, number($0.value)) })) }
        let named = targetModules.isEmpty && targets.isUnknown ? JSON.null : JSON(targetModules)
        return [
            "alpha_pattern": patterns(alphas), "base_model_name_or_path": baseModel.map { .string($0) } ?? .null, "bias": "none",
            "exclude_modules": targets.excluded.json, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
            "layers_pattern": targets.layersPatterns.isEmpty ? .null : JSON(targets.layersPatterns.map(\.text)),
            "layers_to_transform": targets.layers.map { .array($0.map { JSON($0) }) } ?? .null, "lora_alpha": number(alpha),
            "lora_dropout": .number(dropout), "modules_to_save": .null, "peft_type": "LORA", "r": JSON(r), "rank_pattern": patterns(ranks),
            "target_modules": targets.pattern.map { .string($0.text) } ?? (targetModules == ["all-linear"] ? "all-linear" : named),
            "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": .bool(useRSLoRA),
        ]
    }
}

/// The settings that choose modules beside a list of names.
struct AdapterTargets: Sendable, Equatable {
    /// `target_modules` as a regular expression for the whole name.
    var pattern: ModulePattern?
    /// The file does not say `target_modules`: the tensors alone do.
    var isUnknown = false
    var excluded = Excluded.none
    /// `layers_to_transform`: nil or empty is all.
    var layers: [Int]?
    /// `layers_pattern`: expressions for the part of a module's name before the layer's number. Without any, every name is accepted there.
    var layersPatterns: [ModulePattern] = []

    enum Excluded: Sendable, Equatable {
        case none
        case names([String])
        case pattern(ModulePattern)

        var json: JSON {
            switch self {
            case .none: .null
            case .names(let names): JSON(names)
            case .pattern(let pattern): .string(pattern.text)
            }
        }
    }

    fileprivate func wraps(_ module: String, _ names: [String]) throws -> Bool {
        func isNamed(_ names: [String]) -> Bool { names.contains { $0 == module || module.hasSuffix("." + $0) } }
        switch excluded {
        case .none: break
        case .names(let names): if isNamed(names) { return false }
        case .pattern(let pattern): if try pattern.matches(module) { return false }
        }
        if isUnknown || names == ["all-linear"] { return true }
        if let pattern { return try pattern.matches(module) }
        if names.contains(module) { return true }
        guard isNamed(names) else { return false }
        guard let layers, !layers.isEmpty else { return true }
        return try layer(of: module).map(layers.contains) ?? false
    }

    /// The number of the layer that a module belongs to: the first part of its name that is a number behind a part that `layersPatterns`
    /// match, or, without patterns, behind any part that is not the first.
    private func layer(of module: String) throws -> Int? {
        let parts = module.split(separator: ".", omittingEmptySubsequences: false)
        func number(_ place: Int) -> Int? { parts[place].allSatisfy { ("0"..."9").contains($0) } ? Int(parts[place]) : nil }
        let places = parts.indices.dropLast().filter { number($0) != nil }
        guard !layersPatterns.isEmpty else { return places.first { $0 >= 2 }.flatMap(number) }
        for pattern in layersPatterns {
            for start in parts.indices {
                for place in places where place > start {
                    if try pattern.matches(parts[start..<place].joined(separator: ".")) { return number(place) }
                }
            }
        }
        return nil
    }
}

/// An entry of `rank_pattern` or `alpha_pattern`: a regular expression for the end of a module's name, beginning at the name's start or after
/// a dot.
struct AdapterPattern: Sendable, Equatable {
    let key: String
    let value: Double
    /// nil where the key has no characters but letters, digits, `_`, `-` and dots: then it is compared, which is faster.
    private let pattern: ModulePattern?

    init(key: String, value: Double) throws {
        (self.key, self.value) = (key, value)
        let isPlain = key.utf8.allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains($0)
        }
        pattern = isPlain ? nil : try ModulePattern("(.*\\.)?(\(key))$")
    }

    func matches(_ module: String) throws -> Bool {
        if let pattern { return try pattern.matches(module) }
        let (key, name) = (key.utf8, module.utf8)
        let before = name.count - key.count
        guard before >= 0, before == 0 || name.dropFirst(before - 1).first == UInt8(ascii: ".") else { return false }
        return zip(key, name.dropFirst(before)).allSatisfy { $0 == UInt8(ascii: ".") || $0 == $1 }
    }
}
