import LorikeetJSON

/// A value of the template language; those of Python that templates meet.
package enum TemplateValue: Sendable {
    /// A name or key that does not exist: prints as nothing, is false, is empty, has no attributes. Holds the name, for errors.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case list([TemplateValue])
    case mapping(TemplateMapping)
    /// What `namespace()` made: a number into the run's table, for it is shared and mutable.
    case namespace(Int)
    case macro(Int)
    case function(String)
    indirect case loop(LoopState)
}

extension TemplateValue {
    /// A JSON value: null is none, an object a mapping.
    package init(_ json: JSON) {
        switch json {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(Int(value))
        case .number(let value): self = .number(value)
        case .string(let value): self = .string(value)
        case .array(let values): self = .list(values.map(TemplateValue.init))
        case .object(let object):
            self = .mapping(TemplateMapping(unchecked: object.entries.map { ($0.key, TemplateValue($0.value)) }))
        }
    }
}

/// Keys and values in order of insertion. Keys are strings, compared scalar by scalar as Python does.
package struct TemplateMapping: Sendable {
    package private(set) var entries: [(key: String, value: TemplateValue)] = []

    package init(_ entries: [(String, TemplateValue)] = []) {
        for (key, value) in entries { self[key] = value }
    }

    /// Entries whose keys are known to differ.
    init(unchecked entries: [(String, TemplateValue)]) { self.entries = entries.map { (key: $0.0, value: $0.1) } }

    package subscript(key: String) -> TemplateValue? {
        get { index(of: key).map { entries[$0].value } }
        set {
            if let index = index(of: key) {
                if let newValue { entries[index].value = newValue } else { entries.remove(at: index) }
            } else if let newValue {
                entries.append((key, newValue))
            }
        }
    }

    private func index(of key: String) -> Int? { entries.firstIndex { PythonText.equal($0.key, key) } }
}

/// The variable `loop` inside a for.
package struct LoopState: Sendable {
    var index0: Int
    var length: Int
    var depth0: Int
    var previous: TemplateValue?
    var next: TemplateValue?

    func attribute(_ name: String) -> TemplateValue {
        switch name {
        case "index": .integer(index0 + 1)
        case "index0": .integer(index0)
        case "revindex": .integer(length - index0)
        case "revindex0": .integer(length - index0 - 1)
        case "first": .bool(index0 == 0)
        case "last": .bool(index0 == length - 1)
        case "length": .integer(length)
        case "depth": .integer(depth0 + 1)
        case "depth0": .integer(depth0)
        case "previtem": previous ?? .undefined("loop.previtem")
        case "nextitem": next ?? .undefined("loop.nextitem")
        default: .undefined("loop.\(name)")
        }
    }
}

extension TemplateValue {
    /// Python's truth.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .string(let value): !value.isEmpty
        case .list(let values): !values.isEmpty
        case .mapping(let mapping): !mapping.entries.isEmpty
        case .namespace, .macro, .function, .loop: true
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }

    /// What it is, for errors.
    var kind: String {
        switch self {
        case .undefined(let name): "undefined “\(name)”"
        case .none: "none"
        case .bool: "a boolean"
        case .integer: "an integer"
        case .number: "a number"
        case .string: "a string"
        case .list: "a list"
        case .mapping: "a mapping"
        case .namespace: "a namespace"
        case .macro, .function: "a function"
        case .loop: "loop"
        }
    }

    /// As a number, booleans being 0 and 1.
    var asDouble: Double? {
        switch self {
        case .bool(let value): value ? 1 : 0
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    var asInteger: Int? {
        switch self {
        case .bool(let value): value ? 1 : 0
        case .integer(let value): value
        default: nil
        }
    }

    /// Python's `==`: numbers by value, strings scalar by scalar, containers by their parts.
    func equals(_ other: TemplateValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let a), .string(let b)): return PythonText.equal(a, b)
        case (.list(let a), .list(let b)): return a.count == b.count && zip(a, b).allSatisfy { $0.equals($1) }
        case (.mapping(let a), .mapping(let b)):
            return a.entries.count == b.entries.count
                && a.entries.allSatisfy { entry in b[entry.key].map { entry.value.equals($0) } ?? false }
        case (.namespace(let a), .namespace(let b)), (.macro(let a), .macro(let b)): return a == b
        case (.function(let a), .function(let b)): return a == b
        default:
            if let a = asInteger, let b = other.asInteger { return a == b }
            if let a = asDouble, let b = other.asDouble { return a == b }
            return false
        }
    }
}

extension TemplateValue: Equatable {
    package static func == (a: TemplateValue, b: TemplateValue) -> Bool { a.equals(b) }
}

extension TemplateValue {
    /// Python's `str`.
    var text: String {
        switch self {
        case .undefined: ""
        case .string(let value): value
        default: represented
        }
    }

    /// Python's `repr`.
    var represented: String {
        switch self {
        case .undefined: return "Undefined"
        case .none: return "None"
        case .bool(let value): return value ? "True" : "False"
        case .integer(let value): return String(value)
        case .number(let value): return value.isNaN ? "nan" : value.isInfinite ? (value < 0 ? "-inf" : "inf") : value.description
        case .string(let value): return PythonText.represented(value)
        case .list(let values): return "[" + values.map(\.represented).joined(separator: ", ") + "]"
        case .mapping(let mapping):
            return "{"
                + mapping.entries.map { PythonText.represented($0.key) + ": " + $0.value.represented }
                .joined(separator: ", ") + "}"
        case .namespace: return "<Namespace>"
        case .macro: return "<Macro>"
        case .function(let name): return "<function \(name)>"
        case .loop: return "<LoopContext>"
        }
    }
}

/// `tojson` as transformers sets it up: Python's `json.dumps` with `ensure_ascii=False`, nothing escaped for HTML.
struct TemplateJSON {
    var indent: Int?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false

    /// nil when the value holds something that JSON has no form for.
    func text(_ value: TemplateValue) -> String? {
        var result = ""
        return append(value, level: 0, to: &result) ? result : nil
    }

    private func append(_ value: TemplateValue, level: Int, to result: inout String) -> Bool {
        switch value {
        case .none: result += "null"
        case .bool(let value): result += value ? "true" : "false"
        case .integer(let value): result += String(value)
        case .number(let value):
            result += value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : value.description
        case .string(let value): Self.append(quoted: value, to: &result)
        case .list(let values):
            return appendContainer("[", "]", count: values.count, level: level, to: &result) { index, result in
                append(values[index], level: level + 1, to: &result)
            }
        case .mapping(let mapping):
            let entries =
                sortsKeys
                ? mapping.entries.sorted { $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars) }
                : mapping.entries
            return appendContainer("{", "}", count: entries.count, level: level, to: &result) { index, result in
                Self.append(quoted: entries[index].key, to: &result)
                result += keySeparator
                return append(entries[index].value, level: level + 1, to: &result)
            }
        default: return false
        }
        return true
    }

    private func appendContainer(
        _ open: String, _ close: String, count: Int, level: Int, to result: inout String,
        _ element: (Int, inout String) -> Bool
    ) -> Bool {
        result += open
        for index in 0..<count {
            if index > 0 { result += itemSeparator }
            if let indent { result += "\n" + String(repeating: " ", count: indent * (level + 1)) }
            guard element(index, &result) else { return false }
        }
        if let indent, count > 0 { result += "\n" + String(repeating: " ", count: indent * level) }
        result += close
        return true
    }

    private static func append(quoted text: String, to result: inout String) {
        result += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{C}": result += "\\f"
            case ..."\u{1F}":
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        result += "\""
    }
}
