import LorikeetGround

/// Filters that take lists and mappings.
extension TemplateRun {
    func sequence(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch name {
        case "length", "count": return .integer(try length(value))
        case "default", "d":
            let replacesFalse = arguments.value(1, "boolean")?.isTrue ?? false
            guard value.isUndefined || (replacesFalse && !value.isTrue) else { return value }
            return arguments.value(0, "default_value") ?? .string("")
        case "first": return try elements(of: value).first ?? .undefined("the first of nothing")
        case "last": return try elements(of: value).last ?? .undefined("the last of nothing")
        case "list": return .list(try elements(of: value))
        case "reverse":
            let reversed = Array(try elements(of: value).reversed())
            guard value.string != nil else { return .list(reversed) }
            return .string(reversed.map(\.text).joined())
        case "join":
            var values = try elements(of: value)
            if let path = arguments.value(1, "attribute") { values = try values.map { try part(path, of: $0) } }
            return .string(try join(values, try text(of: arguments.value(0, "d") ?? .string(""))))
        case "items": return .list(try items(of: value, name))
        case "dictsort": return .list(try sortedItems(of: value, arguments))
        case "sum":
            var total = arguments.value(1, "start") ?? .integer(0)
            for element in try elements(of: value) {
                let term = try arguments.value(0, "attribute").map { try part($0, of: element) } ?? element
                total = try compute(.add, total, term)
            }
            return total
        case "unique": return .list(try unique(value, arguments))
        case "sort": return .list(try sorted(value, arguments))
        case "min", "max": return try extreme(name, value, arguments)
        case "groupby": return .list(try groups(value, arguments))
        case "batch": return .list(try batches(try elements(of: value), arguments))
        case "slice": return .list(try slices(try elements(of: value), arguments))
        case "attr":
            guard let name = arguments.value(0, "name")?.string else { throw failure("“attr” needs a name") }
            if case .mapping = value { return .undefined(name) }
            return try attribute(name, of: value)
        default: return nil
        }
    }

    private func length(_ value: TemplateValue) throws -> Int {
        switch value {
        case .undefined: return 0
        case .string(let text), .markup(let text):
            try charge(text.utf8.count)
            return text.unicodeScalars.count
        case .list(let list): return list.count
        case .mapping(let mapping): return mapping.entries.count
        case .loop(let loop): return loop.values.count
        default: throw failure("\(value.kind) has no length")
        }
    }

    private func items(of value: TemplateValue, _ filter: String) throws -> [TemplateValue] {
        guard case .mapping(let mapping) = value else {
            if value.isUndefined, filter == "items" { return [] }
            throw failure("“\(filter)” needs a mapping, not \(value.kind)")
        }
        try charge(elements: 2 * mapping.entries.count)
        return mapping.entries.map { .tuple([$0.key.value, $0.value]) }
    }

    private func sortedItems(of value: TemplateValue, _ arguments: EvaluatedArguments) throws -> [TemplateValue] {
        let isCaseSensitive = arguments.value(0, "case_sensitive")?.isTrue ?? false
        let by = arguments.value(1, "by")?.string ?? "key"
        guard by == "key" || by == "value" else { throw failure("“dictsort” sorts by key or value") }
        let items = try items(of: value, "dictsort")
        let keys = try items.map { item in
            guard case .list(let pair) = item else { return item }
            return try sortKey(pair[by == "key" ? 0 : 1], isCaseSensitive)
        }
        return try order(keys, reversed: arguments.value(2, "reverse")?.isTrue ?? false).map { items[$0] }
    }

    private func sortKey(_ value: TemplateValue, _ isCaseSensitive: Bool) throws -> TemplateValue {
        try charge(walking: value)
        guard !isCaseSensitive, let text = value.string else { return value }
        return .string(text.lowercased())
    }

    /// The keys by which a filter orders the elements: an attribute or themselves, without case unless asked for.
    private func sortKeys(
        _ elements: [TemplateValue], _ attribute: TemplateValue?, _ caseSensitive: TemplateValue?, standard: TemplateValue? = nil
    ) throws -> [TemplateValue] {
        try elements.map { element in
            try charge(walking: element)
            var key = element
            if let attribute, attribute != .none { key = try part(attribute, of: element) }
            if key.isUndefined, let standard { key = standard }
            return try sortKey(key, caseSensitive?.isTrue ?? false)
        }
    }

    /// The places of the keys in ascending order; equal keys stay in their order, in descending order too, as in Python.
    private func order(_ keys: [TemplateValue], reversed: Bool) throws -> [Int] {
        try charge(elements: keys.count)
        return try keys.indices.sorted { a, b in
            try charge(Self.stepCost)
            if try precedes(reversed ? keys[b] : keys[a], reversed ? keys[a] : keys[b]) { return true }
            return try precedes(reversed ? keys[a] : keys[b], reversed ? keys[b] : keys[a]) ? false : a < b
        }
    }

    private func sorted(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> [TemplateValue] {
        let elements = try elements(of: value)
        let keys = try sortKeys(elements, arguments.value(2, "attribute"), arguments.value(1, "case_sensitive"))
        return try order(keys, reversed: arguments.value(0, "reverse")?.isTrue ?? false).map { elements[$0] }
    }

    private func extreme(_ name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        let elements = try elements(of: value)
        let keys = try sortKeys(elements, arguments.value(1, "attribute"), arguments.value(0, "case_sensitive"))
        guard var best = keys.indices.first else { return .undefined("the \(name) of nothing") }
        for index in keys.indices.dropFirst() where try precedes(keys[name == "min" ? index : best], keys[name == "min" ? best : index]) {
            best = index
        }
        return elements[best]
    }

    /// What makes values equal as members of a Python set; nil for those that cannot be members.
    private func hashed(_ value: TemplateValue) -> ExactKey? {
        if let text = value.string { return ExactKey(text: "s" + text) }
        if let integer = value.asInteger { return ExactKey(text: "n\(integer)") }
        if let number = value.asDouble { return ExactKey(text: Int(exactly: number).map { "n\($0)" } ?? "n\(number)") }
        return value == .none ? ExactKey(text: "none") : value.isUndefined ? ExactKey(text: "undefined") : nil
    }

    private func unique(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> [TemplateValue] {
        let elements = try elements(of: value)
        let keys = try sortKeys(elements, arguments.value(1, "attribute"), arguments.value(0, "case_sensitive"))
        try charge(elements: keys.count)
        var seen = Set<ExactKey>()
        return try elements.indices.filter { index in
            guard let key = hashed(keys[index]) else { throw failure("“unique” cannot compare \(keys[index].kind)") }
            return seen.insert(key).inserted
        }.map { elements[$0] }
    }

    private func groups(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> [TemplateValue] {
        guard let attribute = arguments.value(0, "attribute") else { throw failure("“groupby” needs an attribute") }
        let elements = try elements(of: value)
        let caseSensitive = arguments.value(2, "case_sensitive")
        let keys = try sortKeys(elements, attribute, caseSensitive, standard: arguments.value(1, "default"))
        let shown = try sortKeys(elements, attribute, .bool(true), standard: arguments.value(1, "default"))
        var groups: [(key: Int, members: [TemplateValue])] = []
        for place in try order(keys, reversed: false) {
            if let last = groups.last, try equal(keys[last.key], keys[place]) {
                groups[groups.count - 1].members.append(elements[place])
            } else {
                groups.append((place, [elements[place]]))
            }
        }
        return groups.map { .tuple([shown[$0.key], .list($0.members)]) }
    }

    private func batches(_ values: [TemplateValue], _ arguments: EvaluatedArguments) throws -> [TemplateValue] {
        let size = try integer(arguments.value(0, "linecount"), "the size of a batch", standard: 0)
        guard size > 0 else { throw failure("“batch” needs a size") }
        try charge(elements: values.count)
        var result: [[TemplateValue]] = []
        var start = 0
        while start < values.count {
            result.append(Array(values[start..<(start + min(size, values.count - start))]))
            start += min(size, values.count - start)
        }
        if let fill = arguments.value(1, "fill_with"), fill != .none, let last = result.last, last.count < size {
            try charge(elements: size)
            result[result.count - 1] += [TemplateValue](repeating: fill, count: size - last.count)
        }
        return result.map { .list($0) }
    }

    private func slices(_ values: [TemplateValue], _ arguments: EvaluatedArguments) throws -> [TemplateValue] {
        let count = try integer(arguments.value(0, "slices"), "the number of slices", standard: 0)
        guard count > 0 else { throw failure("“slice” needs how many") }
        try charge(elements: Saturating.sum(count, values.count))
        let (size, longer) = values.count.quotientAndRemainder(dividingBy: count)
        return (0..<count).map { index in
            let start = index * size + min(index, longer)
            var part = Array(values[start..<(start + size + (index < longer ? 1 : 0))])
            if let fill = arguments.value(1, "fill_with"), fill != .none, index >= longer { part.append(fill) }
            return .list(part)
        }
    }

    // MARK: Selections

    /// `map`, `select`, `reject`, `selectattr`, `rejectattr`.
    func selection(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        let isSelection = ["map", "select", "reject", "selectattr", "rejectattr"].contains(name)
        if isSelection, !value.isTrue { return .list([]) }
        switch name {
        case "map":
            let values = try elements(of: value)
            try charge(elements: values.count)
            if let path = arguments.named("attribute") {
                return .list(
                    try values.map { element in
                        let found = try part(path, of: element)
                        return found.isUndefined ? arguments.named("default") ?? found : found
                    })
            }
            guard let filter = arguments.positional.first?.string else { throw failure("“map” needs a filter or an attribute") }
            guard Self.filterNames.contains(filter) else { throw failure("the filter “\(filter)” is not supported") }
            let rest = arguments.dropFirst()
            return .list(try values.map { element in try descend { try apply(filter: filter, to: element, rest) } })
        case "select", "reject", "selectattr", "rejectattr":
            let byAttribute = name.hasSuffix("attr")
            guard let path = byAttribute ? arguments.positional.first : TemplateValue.none else {
                throw failure("“\(name)” needs an attribute")
            }
            let rest = byAttribute ? arguments.dropFirst() : arguments
            return .list(
                try elements(of: value).filter { element in
                    try charge(Self.stepCost)
                    let tested = byAttribute ? try part(path, of: element) : element
                    return try passes(tested, rest) == name.hasPrefix("select")
                })
        default: return nil
        }
    }

    private func passes(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> Bool {
        guard let first = arguments.positional.first else { return value.isTrue }
        guard let test = first.string else { throw failure("a test is named by a string, not \(first.kind)") }
        try charge(arguments.positional.count)
        return try holds(test: test, value, arguments.dropFirst())
    }

    /// `a.b.0` of a value.
    func part(_ path: TemplateValue, of value: TemplateValue) throws -> TemplateValue {
        if case .integer = path { return try item(path, of: value) }
        let text = try text(of: path)
        try charge(Self.stepCost + text.utf8.count)
        var result = value
        for name in PythonText.split(text, separator: ".") {
            if result.isUndefined { return result }
            result = try Int(name).map { try item(.integer($0), of: result) } ?? item(.string(name), of: result)
        }
        return result
    }
}
