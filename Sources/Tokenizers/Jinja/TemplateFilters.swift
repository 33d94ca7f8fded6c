import LorikeetGround

/// `value|filter`
extension TemplateRun {
    func apply(filter name: String, to value: TemplateValue, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        if let result = try text(filter: name, value, arguments) { return result }
        if let result = try number(filter: name, value, arguments) { return result }
        if let result = try sequence(filter: name, value, arguments) { return result }
        if let result = try selection(filter: name, value, arguments) { return result }
        throw failure("the filter “\(name)” is not supported")
    }

    private func text(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch name {
        case "trim":
            var characters: String?
            if case .string(let given)? = arguments.value(0, "chars") { characters = given }
            return .string(PythonText.strip(value.text, characters))
        case "upper": return .string(value.text.uppercased())
        case "lower": return .string(value.text.lowercased())
        case "capitalize": return .string(PythonText.capitalize(value.text))
        case "title": return .string(PythonText.title(value.text) { "-([{<".unicodeScalars.contains($0) || PythonText.isSpace($0) })
        case "string": return .string(value.text)
        case "safe", "escape", "e", "forceescape":
            return name == "safe" ? value : .string(escaped(value.text))
        case "replace":
            guard let old = arguments.value(0, "old"), let new = arguments.value(1, "new") else {
                throw failure("“replace” needs what to replace and by what")
            }
            let limit = arguments.value(2, "count")?.asInteger
            return .string(try replaced(value.text, old.text, new.text, limit: limit.map { max($0, 0) } ?? .max))
        case "indent": return .string(try indented(value.text, arguments))
        case "tojson": return .string(try json(value, arguments))
        case "format": return try formatted(value.text, .list(arguments.positional))
        case "center":
            let missing = (arguments.value(0, "width")?.asInteger ?? 80) - value.text.unicodeScalars.count
            guard missing > 0 else { return .string(value.text) }
            try check(bytes: missing)
            let left = missing / 2
            return .string(String(repeating: " ", count: left) + value.text + String(repeating: " ", count: missing - left))
        case "wordcount": return .integer(PythonText.splitAtSpace(value.text).count)
        default: return nil
        }
    }

    private func escaped(_ text: String) -> String {
        var result = text
        for (plain, entity) in [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ("\"", "&#34;")] {
            result = PythonText.replace(result, plain, entity)
        }
        return result
    }

    private func indented(_ text: String, _ arguments: EvaluatedArguments) throws -> String {
        var margin = String(repeating: " ", count: 4)
        switch arguments.value(0, "width") {
        case .string(let given)?: margin = given
        case let width?:
            let count = max(0, width.asInteger ?? 4)
            try check(bytes: count)
            margin = String(repeating: " ", count: count)
        case nil: break
        }
        let indentsFirst = arguments.value(1, "first")?.isTrue ?? false
        let indentsBlank = arguments.value(2, "blank")?.isTrue ?? false
        let lines = PythonText.split(text, separator: "\n")
        try check(bytes: text.utf8.count + lines.count * margin.utf8.count)
        return lines.enumerated().map { index, line in
            (index > 0 || indentsFirst) && (!line.isEmpty || indentsBlank) ? margin + line : line
        }.joined(separator: "\n")
    }

    private func json(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> String {
        var writer = TemplateJSON()
        // transformers' parameters: ensure_ascii, indent, separators, sort_keys.
        if let indent = arguments.value(1, "indent")?.asInteger {
            try check(bytes: max(indent, 0) * 64)
            writer.indent = max(indent, 0)
            writer.itemSeparator = ","
        }
        if case .list(let separators)? = arguments.named("separators"), separators.count == 2 {
            writer.itemSeparator = separators[0].text
            writer.keySeparator = separators[1].text
        }
        writer.sortsKeys = arguments.named("sort_keys")?.isTrue ?? false
        guard let text = writer.text(value) else { throw failure("\(value.kind), or something in it, has no form in JSON") }
        try check(bytes: text.utf8.count)
        return text
    }

    private func number(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch name {
        case "int":
            if let integer = value.asInteger { return .integer(integer) }
            if case .number(let number) = value, let whole = Int(exactly: number.rounded(.towardZero)) { return .integer(whole) }
            if case .string(let text) = value {
                let trimmed = PythonText.strip(text, nil)
                if let integer = Int(trimmed) { return .integer(integer) }
                if let number = Double(trimmed), let whole = Int(exactly: number.rounded(.towardZero)) { return .integer(whole) }
            }
            return arguments.value(0, "default") ?? .integer(0)
        case "float":
            if let number = value.asDouble { return .number(number) }
            if case .string(let text) = value, let number = Double(PythonText.strip(text, nil)) { return .number(number) }
            return arguments.value(0, "default") ?? .number(0)
        case "abs":
            if let integer = value.asInteger, integer != .min { return .integer(abs(integer)) }
            if let number = value.asDouble { return .number(abs(number)) }
            throw failure("“abs” needs a number, not \(value.kind)")
        case "round":
            guard let number = value.asDouble else { throw failure("“round” needs a number, not \(value.kind)") }
            let digits = arguments.value(0, "precision")?.asInteger ?? 0
            guard (0...15).contains(digits) else { throw failure("“round” takes 0 to 15 digits") }
            var scale = 1.0
            for _ in 0..<digits { scale *= 10 }
            return .number((number * scale).rounded(.toNearestOrEven) / scale)
        default: return nil
        }
    }

    private func sequence(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch name {
        case "length", "count":
            if case .undefined = value { return .integer(0) }
            if case .string(let text) = value { return .integer(text.unicodeScalars.count) }
            return .integer(try elements(of: value).count)
        case "default", "d":
            let replacesFalse = arguments.value(1, "boolean")?.isTrue ?? false
            guard value.isUndefined || (replacesFalse && !value.isTrue) else { return value }
            return arguments.value(0, "default_value") ?? .string("")
        case "first": return try elements(of: value).first ?? .undefined("the first of nothing")
        case "last": return try elements(of: value).last ?? .undefined("the last of nothing")
        case "list": return .list(try elements(of: value))
        case "reverse":
            let reversed = Array(try elements(of: value).reversed())
            if case .string = value { return .string(reversed.map(\.text).joined()) }
            return .list(reversed)
        case "join":
            var values = try elements(of: value)
            if let path = arguments.value(1, "attribute") { values = try values.map { try part(path, of: $0) } }
            return .string(try join(values, arguments.value(0, "d")?.text ?? ""))
        case "items", "dictsort":
            guard case .mapping(let mapping) = value else {
                if value.isUndefined, name == "items" { return .list([]) }
                throw failure("“\(name)” needs a mapping, not \(value.kind)")
            }
            let entries =
                name == "items"
                ? mapping.entries
                : mapping.entries.sorted { PythonText.precedes($0.key.lowercased(), $1.key.lowercased()) }
            return .list(entries.map { .list([.string($0.key), $0.value]) })
        case "sum":
            var total = arguments.value(1, "start") ?? .integer(0)
            for element in try elements(of: value) {
                let term = try arguments.value(0, "attribute").map { try part($0, of: element) } ?? element
                total = try compute(.add, total, term)
            }
            return total
        case "unique", "sort", "min", "max": return try ordered(name, value, arguments)
        case "batch": return try batches(try elements(of: value), arguments)
        default: return nil
        }
    }

    private func ordered(
        _ name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue {
        let path = name == "sort" ? arguments.value(2, "attribute") : arguments.named("attribute")
        let isCaseSensitive = (name == "sort" ? arguments.value(1, "case_sensitive") : arguments.value(0, "case_sensitive"))?.isTrue ?? false
        let keyed = try elements(of: value).map { element -> (key: TemplateValue, element: TemplateValue) in
            let key = try path.map { try part($0, of: element) } ?? element
            if !isCaseSensitive, case .string(let text) = key { return (.string(text.lowercased()), element) }
            return (key, element)
        }
        if name == "unique" {
            var seen: [TemplateValue] = []
            return .list(
                keyed.filter { entry in
                    if seen.contains(where: { $0.equals(entry.key) }) { return false }
                    seen.append(entry.key)
                    return true
                }.map(\.element))
        }
        let sorted = try keyed.enumerated().sorted { a, b in
            if try precedes(a.element.key, b.element.key) { return true }
            return try precedes(b.element.key, a.element.key) ? false : a.offset < b.offset
        }.map(\.element.element)
        switch name {
        case "min": return sorted.first ?? .undefined("the least of nothing")
        case "max": return sorted.last ?? .undefined("the greatest of nothing")
        default: return .list(arguments.value(0, "reverse")?.isTrue ?? false ? sorted.reversed() : sorted)
        }
    }

    private func batches(_ values: [TemplateValue], _ arguments: EvaluatedArguments) throws -> TemplateValue {
        guard let size = arguments.value(0, "linecount")?.asInteger, size > 0 else { throw failure("“batch” needs a size") }
        return .list(
            stride(from: 0, to: values.count, by: size).map { start in
                .list(Array(values[start..<min(start + size, values.count)]))
            })
    }

    /// `map`, `select`, `reject`, `selectattr`, `rejectattr`.
    private func selection(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch name {
        case "map":
            let values = try elements(of: value)
            if let path = arguments.named("attribute") {
                return .list(
                    try values.map { element in
                        let found = try part(path, of: element)
                        return found.isUndefined ? arguments.named("default") ?? found : found
                    })
            }
            guard case .string(let filter)? = arguments.positional.first else { throw failure("“map” needs a filter or an attribute") }
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
                    let tested = byAttribute ? try part(path, of: element) : element
                    return try passes(tested, rest) == name.hasPrefix("select")
                })
        default: return nil
        }
    }

    private func passes(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> Bool {
        guard let first = arguments.positional.first else { return value.isTrue }
        guard case .string(let test) = first else { throw failure("a test is named by a string, not \(first.kind)") }
        return try holds(test: test, value, arguments.dropFirst())
    }

    /// `a.b.0` of a value.
    private func part(_ path: TemplateValue, of value: TemplateValue) throws -> TemplateValue {
        if case .integer = path { return try item(path, of: value) }
        var result = value
        for name in PythonText.split(path.text, separator: ".") {
            if result.isUndefined { return result }
            result = try Int(name).map { try item(.integer($0), of: result) } ?? attribute(name, of: result)
        }
        return result
    }
}
