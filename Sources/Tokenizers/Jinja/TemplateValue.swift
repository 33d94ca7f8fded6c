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
    /// Text that `escape` or `safe` made (markupsafe's `Markup`): a string that is not escaped again, and that escapes what is added to it.
    case markup(String)
    /// A text that is not known yet; only where an outline is made.
    case open(OpenText)
    indirect case list(TemplateList)
    indirect case mapping(TemplateMapping)
    /// What `namespace()` made: a number into the run's table, for it is shared and mutable.
    case namespace(Int)
    case macro(Int)
    case function(String)
    /// A method that is not called yet, as `value.items` without brackets is: defined and true.
    indirect case method(TemplateValue, String)
    /// `joiner(…)` and `cycler(…)`: a number into the run's table.
    case counter(Int)
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
        case .array(let values): self = .list(TemplateList(values.map { TemplateValue($0) }))
        case .object(let object):
            // Its keys differ.
            var mapping = TemplateMapping()
            for (key, value) in object.entries { mapping.append(key, TemplateValue(value)) }
            self = .mapping(mapping)
        }
    }

    package static func list(_ values: [TemplateValue]) -> TemplateValue { .list(TemplateList(values)) }
    static func tuple(_ values: [TemplateValue]) -> TemplateValue { .list(TemplateList(values, isTuple: true)) }

    var shape: ValueShape {
        switch self {
        case .string(let text), .markup(let text): ValueShape(depth: 0, weight: 16 + text.utf8.count)
        case .open: .open
        case .list(let list): list.shape
        case .mapping(let mapping): mapping.shape
        case .method(let owner, _): ValueShape(containing: owner.shape)
        case .loop(let loop): ValueShape(containing: loop.values.shape)
        default: ValueShape()
        }
    }

    /// The text of a string, marked up or not.
    var string: String? {
        switch self {
        case .string(let text), .markup(let text): text
        default: nil
        }
    }

    /// Python's truth.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .string(let value), .markup(let value): !value.isEmpty
        case .list(let values): !values.isEmpty
        case .mapping(let mapping): !mapping.entries.isEmpty
        case .namespace, .macro, .function, .method, .counter, .loop: true
        case .open: true
        }
    }

    /// A string without markup, known or not.
    var isPlainText: Bool {
        switch self {
        case .string, .open: true
        default: false
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
        case .string, .markup, .open: "a string"
        case .list(let list): list.isTuple ? "a tuple" : "a list"
        case .mapping: "a mapping"
        case .namespace: "a namespace"
        case .macro, .function, .method: "a function"
        case .counter: "a joiner or cycler"
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

    /// Python's `==`: numbers by value, strings byte by byte, containers by their parts. Walks both values: charge it first.
    func equals(_ other: TemplateValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let a), .string(let b)), (.string(let a), .markup(let b)), (.markup(let a), .string(let b)), (.markup(let a), .markup(let b)):
            return PythonText.equal(a, b)
        case (.list(let a), .list(let b)):
            return a.isTuple == b.isTuple && a.count == b.count && zip(a, b).allSatisfy { $0.equals($1) }
        case (.mapping(let a), .mapping(let b)):
            return a.entries.count == b.entries.count
                && a.entries.allSatisfy { entry in b[entry.key].map { entry.value.equals($0) } ?? false }
        case (.namespace(let a), .namespace(let b)), (.macro(let a), .macro(let b)), (.counter(let a), .counter(let b)): return a == b
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
        case .string(let value), .markup(let value): value
        default: represented
        }
    }

    /// Python's `repr`. Walks the value: charge it first.
    var represented: String {
        var result = ""
        represent(into: &result)
        return result
    }

    private func represent(into result: inout String) {
        switch self {
        case .undefined: result += "Undefined"
        case .none: result += "None"
        case .bool(let value): result += value ? "True" : "False"
        case .integer(let value): result += String(value)
        case .number(let value): result += PythonNumber.text(value)
        case .string(let value): result += PythonText.represented(value)
        case .markup(let value): result += "Markup(" + PythonText.represented(value) + ")"
        case .list(let values):
            result += values.isTuple ? "(" : "["
            for (index, value) in values.enumerated() {
                if index > 0 { result += ", " }
                value.represent(into: &result)
            }
            result += values.isTuple ? (values.count == 1 ? ",)" : ")") : "]"
        case .mapping(let mapping):
            result += "{"
            for (index, entry) in mapping.entries.enumerated() {
                if index > 0 { result += ", " }
                result += entry.key.value.represented + ": "
                entry.value.represent(into: &result)
            }
            result += "}"
        case .namespace: result += "<Namespace>"
        case .macro: result += "<Macro>"
        case .open: break
        case .function(let name): result += "<function \(name)>"
        case .method(_, let name): result += "<built-in method \(name)>"
        case .counter: result += "<Counter>"
        case .loop(let loop): result += "<LoopContext \(loop.index0 + 1)/\(loop.values.count)>"
        }
    }
}

/// Numbers as Python prints them.
enum PythonNumber {
    static func text(_ value: Double) -> String {
        value.isNaN ? "nan" : value.isInfinite ? (value < 0 ? "-inf" : "inf") : value.description
    }
}
