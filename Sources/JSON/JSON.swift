/// A JSON value. Numbers without fraction or exponent that fit are `.integer`.
package enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSON])
    case object(JSONObject)

    package var string: String? { if case .string(let value) = self { value } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
    package var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    /// An integer, or a number without fraction.
    package var int: Int? {
        switch self {
        case .integer(let value): Int(exactly: value)
        case .number(let value): Int(exactly: value)
        default: nil
        }
    }
    package var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
    package var isNull: Bool { self == .null }

    package subscript(key: String) -> JSON? { object?[key] }
}

/// An object's pairs in the order of the text. Keys are unique: of equal ones given to `init` the last stays (the parser refuses them).
package struct JSONObject: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    package private(set) var entries: [(key: String, value: JSON)]

    package init() { entries = [] }
    package init(_ entries: [(key: String, value: JSON)]) {
        self.entries = []
        self.entries.reserveCapacity(entries.count)
        if entries.count <= 16 {
            for entry in entries { self[entry.key] = entry.value }
            return
        }
        // Large objects: a linear search for each key would be quadratic.
        var place: [ExactText: Int] = [:]
        place.reserveCapacity(entries.count)
        for entry in entries {
            let key = ExactText(text: entry.key)
            if let index = place[key] {
                self.entries[index].value = entry.value
            } else {
                place[key] = self.entries.count
                self.entries.append(entry)
            }
        }
    }
    package init(dictionaryLiteral elements: (String, JSON)...) { self.init(elements.map { (key: $0.0, value: $0.1) }) }

    package var keys: [String] { entries.map(\.key) }

    /// Setting nil removes the key.
    package subscript(key: String) -> JSON? {
        get { entries.first { ExactText.same($0.key, key) }?.value }
        set {
            let index = entries.firstIndex { ExactText.same($0.key, key) }
            switch (index, newValue) {
            case (let index?, let value?): entries[index].value = value
            case (let index?, nil): entries.remove(at: index)
            case (nil, let value?): entries.append((key, value))
            case (nil, nil): break
            }
        }
    }

    package static func == (a: JSONObject, b: JSONObject) -> Bool {
        a.entries.count == b.entries.count && zip(a.entries, b.entries).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    }
}

/// Text by its bytes: Swift's strings are equal when they are canonically equivalent, but a vocabulary may hold a composed and a
/// decomposed "é" as two tokens.
private struct ExactText: Hashable {
    let text: String

    static func same(_ a: String, _ b: String) -> Bool {
        // Swift's comparison is fast, and settles all that differ.
        a.utf8.count == b.utf8.count && a == b && a.utf8.elementsEqual(b.utf8)
    }
    static func == (a: ExactText, b: ExactText) -> Bool { same(a.text, b.text) }
    func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension JSON: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(nilLiteral: ()) { self = .null }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(stringLiteral value: String) { self = .string(value) }
    package init(arrayLiteral elements: JSON...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSON)...) { self = .object(JSONObject(elements.map { (key: $0.0, value: $0.1) })) }

    package init(_ value: Int) { self = .integer(Int64(value)) }
    package init(_ value: Double) { self = .number(value) }
    package init(_ value: String) { self = .string(value) }
    package init(_ value: Bool) { self = .bool(value) }
    package init(_ values: [String]) { self = .array(values.map { .string($0) }) }
}
