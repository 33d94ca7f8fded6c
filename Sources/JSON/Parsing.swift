import CJSON
import LorikeetGround

extension JSON {
    /// Deepest nesting accepted; real files stay below 20.
    private static let depthLimit = 256
    /// Most values and keys: one takes some 50 bytes of memory, and two bytes of text can be one. The largest tokenizers have 3 million.
    package static let mostValues = 1 << 25

    /// What the message about a text that is no JSON begins with.
    package static let brokenText = "broken JSON: "

    /// Parses one value that fills `bytes`. An object that has a key twice is refused: readers differ in which value counts, so that what is meant
    /// is not known.
    ///
    /// - Parameters:
    ///   - source: the file's name, for errors.
    ///   - firstLine: the line on which `bytes` begin, for errors.
    ///   - mostValues: how many values and keys it may have.
    /// - Throws: exit 2 at `source:line`.
    package static func parse(
        _ bytes: UnsafeRawBufferPointer, source: String, firstLine: Int = 1, mostValues: Int = JSON.mostValues
    ) throws -> JSON {
        let text = bytes.bindMemory(to: CChar.self)
        guard let tape = lorikeet_json_parse(text.baseAddress, bytes.count, depthLimit, mostValues) else {
            throw LorikeetError.machine("no memory to read the JSON", at: source)
        }
        defer { lorikeet_json_free(tape) }
        var at = 0
        func line(_ at: Int) -> Int { bytes.prefix(max(0, at)).reduce(firstLine) { $1 == UInt8(ascii: "\n") ? $0 + 1 : $0 } }
        if let message = lorikeet_json_error(tape, &at) {
            if let cause = otherText(bytes) { throw LorikeetError.input(cause.what, at: source, fix: cause.fix) }
            var words = String(cString: message)
            if words.hasSuffix(".") { words.removeLast() }
            throw LorikeetError.input(
                "\(brokenText)\(words.prefix(1).lowercased() + words.dropFirst())", at: "\(source):\(line(at))", fix: "fix the text at byte \(at)")
        }
        var count = 0
        guard let nodes = lorikeet_json_nodes(tape, &count), count > 0, let characters = lorikeet_json_characters(tape) else { return .null }
        var reader = TapeReader(nodes: nodes, characters: characters)
        let value = reader.value()
        if let key = reader.doubledKey {
            let place = "\(source):\(line(lorikeet_json_second_key(text.baseAddress, bytes.count)))"
            var error = LorikeetError.input(
                "the key '\(key)' stands twice in the same object", at: place, fix: "keep the one that is meant, and remove the other")
            error.kind = .repeatedKey
            throw error
        }
        return value
    }

    /// What bytes are that cannot be JSON, where their beginning says it.
    private static func otherText(_ bytes: UnsafeRawBufferPointer) -> (what: String, fix: String)? {
        if bytes.isEmpty { return ("the file is empty", "fetch or write it again") }
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            return ("the file begins with a byte order mark, which JSON does not have", "save it as UTF-8 without it")
        }
        let isWide = bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) || bytes.count > 1 && (bytes[0] == 0) != (bytes[1] == 0)
        if isWide { return ("the file is UTF-16 or UTF-32, not UTF-8", "save it as UTF-8") }
        if bytes.allSatisfy({ $0 == 0 }) { return ("the file holds nothing but zero bytes: it was not written whole", "fetch or write it again") }
        return nil
    }

    package static func parse(_ text: String, source: String) throws -> JSON { try parse(Array(text.utf8), source: source) }

    package static func parse(_ bytes: [UInt8], source: String) throws -> JSON {
        try bytes.withUnsafeBytes { try parse($0, source: source) }
    }
}

/// Walks the tape; its nodes are in the order of the text, so one index is all its state.
private struct TapeReader {
    let nodes: UnsafePointer<lorikeet_json_node>
    let characters: UnsafePointer<CChar>
    var next = 0
    /// A key that an object has more than once.
    var doubledKey: String?

    mutating func value() -> JSON {
        let node = nodes[next]
        next += 1
        switch Int(node.kind) {
        case Int(LORIKEET_JSON_FALSE.rawValue): return .bool(false)
        case Int(LORIKEET_JSON_TRUE.rawValue): return .bool(true)
        case Int(LORIKEET_JSON_INTEGER.rawValue): return .integer(node.value.integer)
        case Int(LORIKEET_JSON_DOUBLE.rawValue): return .number(node.value.number)
        case Int(LORIKEET_JSON_STRING.rawValue): return .string(text(node))
        case Int(LORIKEET_JSON_ARRAY.rawValue):
            var elements: [JSON] = []
            elements.reserveCapacity(Int(node.count))
            for _ in 0..<node.count { elements.append(value()) }
            return .array(elements)
        case Int(LORIKEET_JSON_OBJECT.rawValue):
            var entries: [(key: String, value: JSON)] = []
            entries.reserveCapacity(Int(node.count))
            for _ in 0..<node.count {
                let key = text(nodes[next])
                next += 1
                entries.append((key, value()))
            }
            let object = JSONObject(entries)
            if object.entries.count != entries.count, doubledKey == nil { doubledKey = entries.map(\.key).firstDouble }
            return .object(object)
        default: return .null
        }
    }

    private func text(_ node: lorikeet_json_node) -> String {
        let start = UnsafeRawPointer(characters + Int(node.value.offset)).assumingMemoryBound(to: UInt8.self)
        return String(decoding: UnsafeBufferPointer(start: start, count: Int(node.count)), as: UTF8.self)
    }
}

extension [String] {
    /// The first text that stands in the list before, byte for byte.
    fileprivate var firstDouble: String? {
        var known: Set<[UInt8]> = []
        return first { !known.insert([UInt8]($0.utf8)).inserted }
    }
}
