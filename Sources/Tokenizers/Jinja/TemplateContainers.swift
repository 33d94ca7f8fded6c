/// What a value costs to walk: known when the value is made, so that an operation can be charged before it works.
struct ValueShape: Sendable, Equatable {
    /// Levels of lists and mappings: 0 for a value that holds no others.
    var depth: Int32 = 0
    /// About the bytes of the value as text, every use of a shared part counted; never overflows.
    var weight: Int = 16
    /// An open text stands in it.
    var isOpen = false

    init(depth: Int32 = 0, weight: Int = 16) {
        self.depth = depth
        self.weight = weight
    }

    static var open: ValueShape {
        var shape = ValueShape()
        shape.isOpen = true
        return shape
    }

    /// The shape of what holds one value.
    init(containing part: ValueShape) { add(part) }

    /// Counts a part of a container.
    mutating func add(_ part: ValueShape) {
        depth = max(depth, part.depth == .max ? .max : part.depth + 1)
        weight = Saturating.sum(weight, part.weight)
        isOpen = isOpen || part.isOpen
    }
}

/// A Python list or tuple, with its shape.
package struct TemplateList: Sendable, RandomAccessCollection {
    package let values: [TemplateValue]
    let isTuple: Bool
    let shape: ValueShape

    package init(_ values: [TemplateValue], isTuple: Bool = false) {
        self.values = values
        self.isTuple = isTuple
        var shape = ValueShape(depth: 1, weight: 16)
        for value in values { shape.add(value.shape) }
        self.shape = shape
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { values.count }
    package subscript(position: Int) -> TemplateValue { values[position] }
}

/// A key of a mapping: a string, or an integer that a template's own text writes.
enum MappingKey: Sendable, Hashable {
    case string(String)
    case integer(Int)

    var value: TemplateValue {
        switch self {
        case .string(let text): .string(text)
        case .integer(let number): .integer(number)
        }
    }

    /// As `json.dumps` writes it.
    var text: String {
        switch self {
        case .string(let text): text
        case .integer(let number): String(number)
        }
    }

    static func == (a: MappingKey, b: MappingKey) -> Bool {
        switch (a, b) {
        case (.string(let a), .string(let b)): PythonText.equal(a, b)
        case (.integer(let a), .integer(let b)): a == b
        default: false
        }
    }

    func hash(into hasher: inout Hasher) {
        switch self {
        case .string(let text): for byte in text.utf8 { hasher.combine(byte) }
        case .integer(let number): hasher.combine(number)
        }
    }
}

/// Keys and values in order of insertion. Strings are compared byte by byte as Python does.
package struct TemplateMapping: Sendable {
    private(set) var entries: [(key: MappingKey, value: TemplateValue)] = []
    private(set) var shape = ValueShape(depth: 1, weight: 16)
    /// The index of the conversation's message that this is; -1 for every other mapping.
    var message = -1
    /// Places of the keys in `entries`, once there are many.
    private var places: [MappingKey: Int] = [:]

    private static let linearSearchLimit = 16

    package init(_ entries: [(String, TemplateValue)] = []) {
        for (key, value) in entries { self[.string(key)] = value }
    }

    package subscript(key: String) -> TemplateValue? { self[.string(key)] }

    /// Setting never removes: templates cannot take a key away.
    subscript(key: MappingKey) -> TemplateValue? {
        get { index(of: key).map { entries[$0].value } }
        set {
            guard let newValue else { return }
            guard let index = index(of: key) else { return append(key, newValue) }
            entries[index].value = newValue
            // A replaced value stays counted: the weight is an upper bound.
            shape.add(newValue.shape)
        }
    }

    /// Adds a key that the mapping does not have yet.
    mutating func append(_ key: String, _ value: TemplateValue) { append(.string(key), value) }

    private mutating func append(_ key: MappingKey, _ value: TemplateValue) {
        entries.append((key, value))
        if entries.count == Self.linearSearchLimit + 1 {
            for (place, entry) in entries.enumerated() { places[entry.key] = place }
        } else if entries.count > Self.linearSearchLimit {
            places[key] = entries.count - 1
        }
        shape.add(ValueShape(weight: 16 + key.text.utf8.count))
        shape.add(value.shape)
    }

    private func index(of key: MappingKey) -> Int? {
        if entries.count > Self.linearSearchLimit { return places[key] }
        return entries.firstIndex { $0.key == key }
    }
}

/// A string that is equal to another only where its bytes are: Swift's own equality is canonical equivalence.
struct ExactKey: Hashable {
    let text: String

    static func == (a: ExactKey, b: ExactKey) -> Bool { PythonText.equal(a.text, b.text) }
    func hash(into hasher: inout Hasher) {
        for byte in text.utf8 { hasher.combine(byte) }
    }
}

/// The variable `loop` inside a for.
package struct LoopState: Sendable {
    var index0: Int
    var depth0: Int
    /// All values of the loop; a filtered loop has those that were left.
    var values: TemplateList
    /// The loop's number in the run's table, for `loop.changed` and for `loop(…)` of a recursive loop.
    var number: Int

    func attribute(_ name: String) -> TemplateValue {
        switch name {
        case "index": .integer(index0 + 1)
        case "index0": .integer(index0)
        case "revindex": .integer(values.count - index0)
        case "revindex0": .integer(values.count - index0 - 1)
        case "first": .bool(index0 == 0)
        case "last": .bool(index0 == values.count - 1)
        case "length": .integer(values.count)
        case "depth": .integer(depth0 + 1)
        case "depth0": .integer(depth0)
        case "previtem": index0 > 0 ? values[index0 - 1] : .undefined("loop.previtem")
        case "nextitem": index0 + 1 < values.count ? values[index0 + 1] : .undefined("loop.nextitem")
        default: .undefined("loop.\(name)")
        }
    }
}
