import LorikeetGround
import LorikeetJSON

/// Reads a `config.json` key by key and notes which keys were read, so that what is left over can be refused or warned of.
///
/// A key that is absent has the default that the caller gives: that of the family's own configuration class in transformers. A key inside
/// an object is written with a dot: `rope_scaling.factor`.
package struct ConfigurationReader {
    /// The file, for errors.
    package let source: String
    /// Divisors of the rotary frequencies, one for each rotated pair, where the file holds them as a tensor that no configuration key expresses.
    private let storedRopeFactors: [Float]?
    private var ropeFactorsAreRead = false
    private var object: JSONObject
    private var consumed: Set<String> = []
    /// Every key that was read with the value it has, defaults included.
    package private(set) var values: JSONObject = [:]
    package private(set) var warnings: [String] = []

    package init(_ json: JSON, source: String, ropeFactors: [Float]? = nil) {
        object = json.object ?? [:]
        self.source = source
        storedRopeFactors = ropeFactors
    }

    // MARK: reading

    /// A whole number.
    ///
    /// - Throws: exit 2 where the file has the key with null, another type or a number out of range. The same holds for all methods below that
    ///   return a value that is not optional.
    package mutating func size(_ key: String, default standard: Int, in range: ClosedRange<Int>) throws -> Int {
        try present(key, standard, Self.wanted(range), Self.whole(range)) { JSON($0) }
    }

    /// A whole number, or nil where the file says null.
    package mutating func optionalSize(_ key: String, default standard: Int?, in range: ClosedRange<Int>) throws -> Int? {
        try read(key, standard, Self.wanted(range), Self.whole(range)) { JSON($0) }
    }

    package mutating func number(_ key: String, default standard: Double, in range: ClosedRange<Double>) throws -> Double {
        try present(key, standard, Self.wanted(range), Self.real(range)) { JSON($0) }
    }

    /// A number, or nil where the file says null.
    package mutating func optionalNumber(_ key: String, default standard: Double?, in range: ClosedRange<Double>) throws -> Double? {
        try read(key, standard, Self.wanted(range), Self.real(range)) { JSON($0) }
    }

    /// A number that has no default.
    package mutating func requiredNumber(_ key: String, in range: ClosedRange<Double>) throws -> Double {
        if let value = try optionalNumber(key, default: nil, in: range) { return value }
        throw refusal(key, found(key) == nil ? "is missing" : "is null", Self.wanted(range))
    }

    package mutating func flag(_ key: String, default standard: Bool) throws -> Bool {
        try present(key, standard, "true or false", \.bool) { JSON($0) }
    }

    package mutating func text(_ key: String, default standard: String) throws -> String {
        try present(key, standard, "a text", \.string) { JSON($0) }
    }

    /// A list of texts such as `layer_types`; nil where it is absent or null.
    package mutating func texts(_ key: String) throws -> [String]? { try list(key, "a list of texts", \.string) { .string($0) } }

    /// A list of numbers such as `rope_scaling.long_factor`; nil where it is absent or null.
    package mutating func numbers(_ key: String, in range: ClosedRange<Double>) throws -> [Double]? {
        try list(key, "a list of numbers from \(range.lowerBound) to \(range.upperBound)", Self.real(range)) { JSON($0) }
    }

    /// A list of whole numbers such as `no_rope_layers`; nil where it is absent or null. true counts as 1, false as 0.
    package mutating func sizes(_ key: String, in range: ClosedRange<Int>) throws -> [Int]? {
        try list(key, "a list of whole numbers from \(range.lowerBound) to \(range.upperBound)", { $0.bool.map { $0 ? 1 : 0 } ?? Self.whole(range)($0) }) {
            JSON($0)
        }
    }

    private mutating func list<Element>(
        _ key: String, _ wanted: String, _ convert: (JSON) -> Element?, _ write: (Element) -> JSON
    ) throws -> [Element]? {
        func elements(_ json: JSON) -> [Element]? {
            guard let array = json.array else { return nil }
            let elements = array.compactMap(convert)
            return elements.count == array.count ? elements : nil
        }
        return try read(key, nil, wanted, elements) { .array($0.map(write)) }
    }

    private static func wanted(_ range: ClosedRange<Int>) -> String { "a whole number from \(range.lowerBound) to \(range.upperBound)" }
    private static func wanted(_ range: ClosedRange<Double>) -> String { "a number from \(range.lowerBound) to \(range.upperBound)" }
    private static func whole(_ range: ClosedRange<Int>) -> (JSON) -> Int? { { $0.int.flatMap { range.contains($0) ? $0 : nil } } }
    private static func real(_ range: ClosedRange<Double>) -> (JSON) -> Double? { { $0.double.flatMap { range.contains($0) ? $0 : nil } } }

    /// The factors of the rotary frequencies that the file holds as a tensor, for a family that divides by them.
    package mutating func ropeFactors() -> [Float]? {
        ropeFactorsAreRead = true
        return storedRopeFactors
    }

    /// Whether the file has the key with a value other than null.
    package func has(_ key: String) -> Bool { found(key).map { !$0.isNull } ?? false }

    /// The value of a key as it stands, without reading it.
    package func found(_ key: String) -> JSON? {
        var value: JSON? = .object(object)
        for part in key.split(separator: ".") { value = value?[String(part)] }
        return value
    }

    /// Of several keys with one meaning, the first that the file has.
    ///
    /// - Throws: exit 2 where the file has several and their values differ.
    package mutating func agreed(_ keys: [String]) throws -> String {
        let present = keys.filter { has($0) }
        // A null alone is for the caller to judge, under its own name.
        guard let first = present.first else { return keys.first { found($0) != nil } ?? keys[keys.count - 1] }
        for other in present.dropFirst() {
            let (a, b) = (found(first), found(other))
            guard a == b || (a?.double != nil && a?.double == b?.double) else {
                throw refusal(other, "differs from '\(first)'", "the same, or in one place alone")
            }
            consumed.insert(other)
        }
        return first
    }

    /// Sets a key that the file lacks to the object that the family's configuration class takes for it.
    package mutating func fill(_ key: String, _ value: JSON) { object[key] = value }

    /// Notes a value that was found in another way than by its key: what a writer of this configuration needs.
    package mutating func note(_ key: String, _ value: JSON) { values[key] = value }

    /// Drops the note of a key whose meaning another key has.
    package mutating func forget(_ key: String) { values[key] = nil }

    package mutating func warn(_ text: String) { warnings.append(text) }

    /// Refuses a key by name.
    package func refusal(_ key: String, _ what: String, _ wanted: String) -> LorikeetError {
        .input("'\(key)' \(what); it has to be \(wanted)", at: source, fix: "use the model's own config.json")
    }

    /// A value that cannot be "none".
    private mutating func present<Value>(
        _ key: String, _ standard: Value, _ wanted: String, _ convert: (JSON) -> Value?, _ write: (Value) -> JSON
    ) throws -> Value {
        if let value = try read(key, standard, wanted, convert, write) { return value }
        throw refusal(key, "is null", wanted)
    }

    private mutating func read<Value>(
        _ key: String, _ standard: Value?, _ wanted: String, _ convert: (JSON) -> Value?, _ write: (Value) -> JSON
    ) throws -> Value? {
        consumed.insert(key)
        let json = found(key)
        guard let json, !json.isNull else {
            // null says "none".
            let value = json == nil ? standard : nil
            if let value { values[key] = write(value) }
            return value
        }
        guard let value = convert(json) else {
            var shown = json.serialized()
            if shown.count > 60 { shown = shown.prefix(60) + "…" }
            throw refusal(key, "is \(shown)", wanted)
        }
        values[key] = write(value)
        return value
    }

    // MARK: what is left over

    /// Judges the keys that nothing has read: inert ones pass, those that change the computation are refused, others are warned of.
    ///
    /// - Parameter inert: the family's own inert keys, beside those that every configuration has.
    package mutating func finish(model: String, inert: [Ignored]) throws {
        if storedRopeFactors != nil, !ropeFactorsAreRead {
            throw LorikeetError.input(
                "the file holds factors of the rotary frequencies (rope_freqs.weight), which a model of type '\(model)' does not use", at: source,
                fix: "use the model's Hugging Face directory")
        }
        var unknown: [String] = []
        try judge(object, inside: "", model, inert, &unknown)
        // Noted under the older form's names too.
        for key in values.keys where key.hasPrefix("rope_parameters.") { values[key] = nil }
        guard !unknown.isEmpty else { return }
        let names = unknown.map { "'\($0)'" }.joined(separator: ", ")
        warn("\(source): not known for models of type '\(model)' and not used: \(names)")
    }

    private func judge(_ object: JSONObject, inside prefix: String, _ model: String, _ inert: [Ignored], _ unknown: inout [String]) throws {
        for (name, value) in object.entries {
            let key = prefix + name
            // null says as much as no key.
            if value.isNull || consumed.contains(key) || ConfigurationKeys.isInert(key, inert) { continue }
            if consumed.contains(where: { $0.hasPrefix(key + ".") }), let nested = value.object {
                try judge(nested, inside: key + ".", model, inert, &unknown)
                continue
            }
            if let known = ConfigurationKeys.computing.first(where: { $0.key == key }) {
                guard known.isNeutral(value) else {
                    throw LorikeetError.input(
                        "'\(key)' is \(value.serialized().prefix(60)), and models of type '\(model)' are computed without it", at: source,
                        fix: "remove the key if the model does without it; otherwise the model is not supported")
                }
                continue
            }
            unknown.append(key)
        }
    }
}
