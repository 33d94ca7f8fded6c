import LorikeetGround
import LorikeetJSON

/// Reads a `config.json` key by key and notes which keys were read, so that what is left over can be refused or warned of.
///
/// A key that is absent has the default that the caller gives: that of the family's own configuration class in transformers. A key inside
/// an object is written with a dot: `rope_scaling.factor`.
package struct ConfigurationReader {
    /// The file, for errors.
    package let source: String
    /// What divides the rotary frequencies, where the file holds that as a tensor that no configuration key expresses; one a pair.
    private let storedRopeFactors: [Float]?
    private var ropeFactorsAreRead = false
    private let object: JSONObject
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
    package mutating func size(_ key: String, default standard: Int, in range: ClosedRange<Int>) throws -> Int {
        try optionalSize(key, default: standard, in: range) ?? noted(key, standard) { JSON($0) }
    }

    /// A whole number, or nil where the file says null.
    package mutating func optionalSize(_ key: String, default standard: Int?, in range: ClosedRange<Int>) throws -> Int? {
        let wanted = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        return try read(key, standard, wanted, { $0.int.flatMap { range.contains($0) ? $0 : nil } }, { JSON($0) })
    }

    package mutating func number(_ key: String, default standard: Double, in range: ClosedRange<Double>) throws -> Double {
        try optionalNumber(key, default: standard, in: range) ?? noted(key, standard) { JSON($0) }
    }

    /// A number, or nil where the file says null.
    package mutating func optionalNumber(_ key: String, default standard: Double?, in range: ClosedRange<Double>) throws -> Double? {
        let wanted = "a number from \(range.lowerBound) to \(range.upperBound)"
        return try read(key, standard, wanted, { $0.double.flatMap { range.contains($0) ? $0 : nil } }, { JSON($0) })
    }

    /// A number that has no default.
    package mutating func requiredNumber(_ key: String, in range: ClosedRange<Double>) throws -> Double {
        if let value = try optionalNumber(key, default: nil, in: range) { return value }
        throw refusal(key, "is missing", "a number from \(range.lowerBound) to \(range.upperBound)")
    }

    package mutating func flag(_ key: String, default standard: Bool) throws -> Bool {
        try read(key, standard, "true or false", \.bool, { JSON($0) }) ?? noted(key, standard) { JSON($0) }
    }

    package mutating func text(_ key: String, default standard: String) throws -> String {
        try read(key, standard, "a text", \.string, { JSON($0) }) ?? noted(key, standard) { JSON($0) }
    }

    /// A list of texts such as `layer_types`; nil where it is absent or null.
    package mutating func texts(_ key: String) throws -> [String]? {
        func convert(_ json: JSON) -> [String]? {
            guard let array = json.array, array.allSatisfy({ $0.string != nil }) else { return nil }
            return array.compactMap(\.string)
        }
        return try read(key, nil, "a list of texts", convert, { JSON($0) })
    }

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

    /// The first of keys that mean the same; where several are there, they have to agree.
    package mutating func agreed(_ keys: [String]) throws -> String {
        let present = keys.filter { has($0) }
        guard let first = present.first else { return keys[keys.count - 1] }
        for other in present.dropFirst() {
            let (a, b) = (found(first), found(other))
            guard a == b || (a?.double != nil && a?.double == b?.double) else {
                throw refusal(other, "differs from '\(first)'", "the same, or in one place alone")
            }
            consumed.insert(other)
        }
        return first
    }

    /// Notes a value that was found in another way than by its key: what a writer of this configuration needs.
    package mutating func note(_ key: String, _ value: JSON) { values[key] = value }

    package mutating func warn(_ text: String) { warnings.append(text) }

    /// Refuses a key by name.
    package func refusal(_ key: String, _ what: String, _ wanted: String) -> LorikeetError {
        .input("'\(key)' \(what); it has to be \(wanted)", at: source, fix: "use the model's own config.json")
    }

    /// The default of a key that cannot be "none": transformers' classes put it in null's place.
    private mutating func noted<Value>(_ key: String, _ standard: Value, _ write: (Value) -> JSON) -> Value {
        values[key] = write(standard)
        return standard
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
            throw LorikeetError.input("the model holds factors of its rotary frequencies, which a \(model) model does not use", at: source)
        }
        var unknown: [String] = []
        for (key, value) in object.entries {
            // null says as much as no key.
            if value.isNull || consumed.contains(key) || ConfigurationKeys.isInert(key, inert) { continue }
            if consumed.contains(where: { $0.hasPrefix(key + ".") }), let nested = value.object {
                for inside in nested.keys where !isRead(key + "." + inside) && !ConfigurationKeys.isInert(key + "." + inside, inert) {
                    unknown.append(key + "." + inside)
                }
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
        guard !unknown.isEmpty else { return }
        let names = unknown.map { "'\($0)'" }.joined(separator: ", ")
        warn("\(source): not known for models of type '\(model)' and not used: \(names)")
    }

    private func isRead(_ key: String) -> Bool { consumed.contains(key) || consumed.contains { $0.hasPrefix(key + ".") } }
}
