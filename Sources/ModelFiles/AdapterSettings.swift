import LorikeetGround
import LorikeetJSON

/// Reads the settings of an `adapter_config.json`, held to a table of those that are known: what may stand there, and what is not
/// supported. A setting that is not in the table has to be null, false or empty; any other value is refused, for it may say that the adapter is
/// something else than base + scale · B A.
struct AdapterSettings {
    private let json: JSON
    private let source: String

    /// What a setting may be. null always means that it is not set.
    private enum Rule {
        /// Read into `AdapterConfiguration`, with its own range.
        case read
        /// Changes nothing in what a trained adapter computes.
        case inert
        /// Inert where it is one of these values.
        case inertOnly([JSON])
        /// Has to be null, false or empty.
        case unset(fix: String)
    }

    private static let plain = "use a plain LoRA adapter"
    private static let factors = "use an adapter of A and B alone"
    private static let converted =
        "convert the adapter to plain LoRA with PEFT (path_initial_model_for_weight_conversion), for it began from a changed base"

    private static let table: [String: Rule] = [
        "r": .read, "lora_alpha": .read, "lora_dropout": .read, "use_rslora": .read, "target_modules": .read, "exclude_modules": .read,
        "layers_to_transform": .read, "layers_pattern": .read, "rank_pattern": .read, "alpha_pattern": .read, "base_model_name_or_path": .read,
        "init_lora_weights": .read, "peft_type": .inertOnly(["LORA"]),
        // Who wrote the file, for which class of models, from which version of the base.
        "peft_version": .inert, "auto_mapping": .inert, "revision": .inert, "inference_mode": .inert,
        // Other tasks have a head of their own, which is not the language model's.
        "task_type": .inertOnly(["CAUSAL_LM"]),
        // Names a module that is imported where megatron_config is set.
        "megatron_core": .inert, "megatron_config": .unset(fix: plain),
        // A group size that only use_qalora reads.
        "qalora_group_size": .inert, "use_qalora": .unset(fix: plain),
        // Where factors are kept while PEFT trains.
        "runtime_config": .inert,
        // Keys of early versions: unset in every linear of a decoder.
        "enable_lora": .unset(fix: plain), "merge_weights": .unset(fix: plain),
        "bias": .inertOnly(["none"]), "fan_in_fan_out": .unset(fix: "use an adapter of linears whose weights are [out, in]"),
        // How training started; the base is unchanged (init_lora_weights says so).
        "eva_config": .inert, "loftq_config": .unset(fix: converted), "corda_config": .unset(fix: converted), "lora_ga_config": .unset(fix: converted),
        "use_dora": .unset(fix: plain), "lora_bias": .unset(fix: plain), "alora_invocation_tokens": .unset(fix: plain),
        "arrow_config": .unset(fix: plain), "use_bdlora": .unset(fix: plain), "kasa_config": .unset(fix: plain), "velora_config": .unset(fix: plain),
        "monteclora_config": .unset(fix: plain), "modules_to_save": .unset(fix: factors), "trainable_token_indices": .unset(fix: factors),
        "target_parameters": .unset(fix: factors), "layer_replication": .unset(fix: factors), "ensure_weight_tying": .unset(fix: factors),
    ]

    /// Values of `init_lora_weights` that leave the base as it is.
    private static let starts: [JSON] = [true, false, "gaussian", "orthogonal", "eva"]

    /// - Throws: exit 2 naming the first setting that is not known, or has a value that is not supported.
    init(_ json: JSON, _ source: String) throws {
        (self.json, self.source) = (json, source)
        guard let object = json.object else { throw LorikeetError.input("the settings are not a JSON object", at: source, fix: "use PEFT's own file") }
        guard let type = json["peft_type"], !type.isNull else {
            let isMLX = json["lora_parameters"] != nil || json["fine_tune_type"] != nil
            throw LorikeetError.input(
                isMLX ? "this is an adapter of MLX ('lora_parameters'), not of PEFT" : "no 'peft_type' in it: not a PEFT adapter", at: source,
                fix: "convert it to a PEFT adapter, saved as safetensors")
        }
        guard type == "LORA" else { throw refusal("peft_type", fix: "only LoRA adapters are supported") }
        for (key, value) in object.entries where !value.isNull {
            guard let rule = Self.table[key] else {
                // A newer PEFT writes all of its settings; what is switched off changes nothing.
                if Self.isUnset(value) { continue }
                throw LorikeetError.input(
                    "the setting '\(key)' is not known, so that it cannot be told what the adapter computes", at: source,
                    fix: "use an adapter of a PEFT version that is supported, or remove the setting if it changes nothing")
            }
            switch rule {
            case .read, .inert: continue
            case .inertOnly(let values): if !values.contains(value) { throw refusal(key, fix: "it has to be \(Self.words(values))") }
            case .unset(let fix): if !Self.isUnset(value) { throw refusal(key, fix: fix) }
            }
        }
        // Some starts change the base: base + B A is not what was trained then.
        if let start = json["init_lora_weights"], !start.isNull, !Self.starts.contains(start) { throw refusal("init_lora_weights", fix: Self.converted) }
    }

    private static func isUnset(_ value: JSON) -> Bool {
        value == false || value.array?.isEmpty == true || value.object?.entries.isEmpty == true || value.string?.isEmpty == true
    }

    private static func words(_ values: [JSON]) -> String { values.map { $0.serialized() }.joined(separator: " or ") }

    private func refusal(_ key: String, fix: String) -> LorikeetError {
        .input("'\(key)' \(json[key]?.serialized().prefix(60) ?? "") is not supported", at: source, fix: fix)
    }

    private func wrong(_ key: String, _ wanted: String) -> LorikeetError {
        .input("'\(key)' is \(json[key]?.serialized().prefix(40) ?? "missing"); it has to be \(wanted)", at: source, fix: "use PEFT's own file")
    }

    /// A setting's value; nil where it is absent or null.
    private func value(_ key: String) -> JSON? {
        // `nil` alone would be the JSON value null.
        guard let value = json[key], !value.isNull else { return Optional.none }
        return value
    }

    // MARK: values

    func number(_ key: String, default standard: Double, _ range: ClosedRange<Double>) throws -> Double {
        guard let value = value(key) else { return standard }
        guard let number = value.double, range.contains(number) else { throw wrong(key, "a number from \(range.lowerBound) to \(range.upperBound)") }
        return number
    }

    func whole(_ key: String, default standard: Int, _ range: ClosedRange<Double>) throws -> Int {
        guard let whole = Int(exactly: try number(key, default: Double(standard), range)) else { throw wrong(key, "a whole number") }
        return whole
    }

    func flag(_ key: String) throws -> Bool {
        guard let value = value(key) else { return false }
        guard let flag = value.bool else { throw wrong(key, "true or false") }
        return flag
    }

    func text(_ key: String) throws -> String? {
        guard let value = value(key) else { return nil }
        guard let text = value.string else { throw wrong(key, "text") }
        return text
    }

    // MARK: modules

    /// `target_modules`, `exclude_modules`, `layers_to_transform` and `layers_pattern`.
    func targets() throws -> (names: [String], targets: AdapterTargets) {
        var (names, targets) = ([String](), AdapterTargets())
        switch value("target_modules") {
        case nil: targets.isUnknown = true
        case .string(let text)? where text.lowercased() == "all-linear": names = ["all-linear"]
        case .string(let text)?: targets.pattern = try expression(text, "target_modules")
        case let value?: names = try list(value, "target_modules").sorted()
        }
        switch value("exclude_modules") {
        case nil: break
        case .string(let text)?: if !text.isEmpty { targets.excluded = .pattern(try expression(text, "exclude_modules")) }
        case let value?: targets.excluded = .names(try list(value, "exclude_modules"))
        }
        if let value = value("layers_to_transform") {
            let layers = value.array ?? [value]
            targets.layers = layers.compactMap { $0.int.flatMap { $0 >= 0 ? $0 : nil } }
            guard targets.layers?.count == layers.count, layers.count <= Self.mostEntries else {
                throw wrong("layers_to_transform", "a layer's number, or a list of numbers")
            }
        }
        if let value = value("layers_pattern") {
            let texts = try value.string.map { [$0] } ?? list(value, "layers_pattern")
            targets.layersPatterns = try texts.filter { !$0.isEmpty }.map { try expression($0, "layers_pattern") }
        }
        // PEFT refuses these too: it would not be clear what they mean.
        if json["target_modules"]?.string != nil, names.isEmpty, targets.layers != nil || !targets.layersPatterns.isEmpty {
            throw refusal(targets.layers != nil ? "layers_to_transform" : "layers_pattern", fix: "with it, target_modules has to be a list")
        }
        if !targets.layersPatterns.isEmpty, targets.layers == nil { throw refusal("layers_pattern", fix: "set layers_to_transform with it") }
        return (names, targets)
    }

    /// Entries of a list or pattern; an adapter has at most a few for each of its modules.
    private static let mostEntries = 10_000

    private func list(_ value: JSON, _ key: String) throws -> [String] {
        guard let values = value.array, values.count <= Self.mostEntries else { throw wrong(key, "a list of names, or text") }
        let texts = values.compactMap(\.string)
        guard texts.count == values.count else { throw wrong(key, "a list of names, or text") }
        return texts
    }

    private func expression(_ text: String, _ key: String) throws -> ModulePattern {
        do { return try ModulePattern(text) } catch let error as LorikeetError {
            throw LorikeetError.input("'\(key)' '\(text.prefix(100))' cannot be used: \(error.what)", at: source, fix: "name the modules as a list")
        }
    }

    /// The entries of `rank_pattern` or `alpha_pattern`.
    func patterns(_ key: String, _ range: ClosedRange<Double>, whole: Bool) throws -> [AdapterPattern] {
        guard let value = value(key) else { return [] }
        guard let object = value.object, object.entries.count <= Self.mostEntries else { throw wrong(key, "an object of names and numbers") }
        return try object.entries.map { name, value in
            guard let number = value.double, range.contains(number), !whole || number == number.rounded() else {
                throw LorikeetError.input(
                    "'\(key)' has \(value.serialized().prefix(40)) for '\(name)'; it has to be a \(whole ? "whole " : "")number from \(range.lowerBound) to \(range.upperBound)",
                    at: source, fix: "use PEFT's own file")
            }
            do { return try AdapterPattern(key: name, value: number) } catch let error as LorikeetError {
                throw LorikeetError.input("'\(key)' '\(name.prefix(100))' cannot be used: \(error.what)", at: source, fix: "name the modules in full")
            }
        }
    }
}
