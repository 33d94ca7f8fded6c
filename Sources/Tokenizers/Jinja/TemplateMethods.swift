import LorikeetGround

/// Methods of strings, mappings, lists and loops, as Python names them.
extension TemplateRun {
    /// nil when values of this kind have no such method.
    func call(method: String, on value: TemplateValue, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        switch value {
        case .string(let text): return try call(method: method, on: text, arguments)
        case .mapping(let mapping): return try call(method: method, on: mapping, arguments)
        case .namespace(let index): return try call(method: method, on: namespaces[index], arguments)
        case .list(let values): return try call(method: method, on: values, arguments)
        case .loop(let loop) where method == "cycle":
            guard !arguments.positional.isEmpty else { throw failure("loop.cycle needs values") }
            return arguments.positional[loop.index0 % arguments.positional.count]
        default: return nil
        }
    }

    private func string(_ arguments: EvaluatedArguments, _ index: Int, _ method: String) throws -> String {
        guard case .string(let text)? = arguments.value(index, "") else {
            throw failure("“\(method)” needs a string")
        }
        return text
    }

    private func optionalString(_ arguments: EvaluatedArguments, _ name: String, _ method: String) throws -> String? {
        switch arguments.value(0, name) {
        case nil, .some(.none): return nil
        case .string(let text)?: return text
        case let other?: throw failure("“\(method)” needs a string, not \(other.kind)")
        }
    }

    private func call(method: String, on text: String, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        switch method {
        case "strip": return .string(PythonText.strip(text, try optionalString(arguments, "chars", method)))
        case "lstrip": return .string(PythonText.strip(text, try optionalString(arguments, "chars", method), right: false))
        case "rstrip": return .string(PythonText.strip(text, try optionalString(arguments, "chars", method), left: false))
        case "upper": return .string(text.uppercased())
        case "lower", "casefold": return .string(text.lowercased())
        case "title": return .string(PythonText.title(text) { !$0.properties.isCased })
        case "capitalize": return .string(PythonText.capitalize(text))
        case "startswith": return .bool(try affixes(arguments, method).contains { PythonText.hasPrefix(text, $0) })
        case "endswith": return .bool(try affixes(arguments, method).contains { PythonText.hasSuffix(text, $0) })
        case "split", "rsplit": return try split(method, text, arguments)
        case "splitlines": return .list(PythonText.splitLines(text).map { .string($0) })
        case "partition", "rpartition": return .list(partition(method, text, try string(arguments, 0, method)))
        case "replace":
            let limit = arguments.value(2, "count")?.asInteger ?? -1
            let (old, new) = (try string(arguments, 0, method), try string(arguments, 1, method))
            return .string(try replaced(text, old, new, limit: limit < 0 ? .max : limit))
        case "join": return .string(try join(try elements(of: arguments.value(0, "iterable") ?? .list([])), text))
        case "find": return .integer(PythonText.find(text, try string(arguments, 0, method)) ?? -1)
        case "index":
            guard let place = PythonText.find(text, try string(arguments, 0, method)) else { throw failure("the text does not contain the part") }
            return .integer(place)
        case "count": return .integer(PythonText.count(text, try string(arguments, 0, method)))
        case "removeprefix":
            let prefix = try string(arguments, 0, method)
            return .string(PythonText.hasPrefix(text, prefix) ? String(decoding: text.utf8.dropFirst(prefix.utf8.count), as: UTF8.self) : text)
        case "removesuffix":
            let suffix = try string(arguments, 0, method)
            return .string(PythonText.hasSuffix(text, suffix) ? String(decoding: text.utf8.dropLast(suffix.utf8.count), as: UTF8.self) : text)
        case "isdigit", "isdecimal", "isnumeric":
            return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy { $0.properties.numericType != nil })
        case "isalpha": return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy { CharacterClass.isLetter(CharacterClass.of($0)) })
        case "isalnum":
            return .bool(
                !text.isEmpty
                    && text.unicodeScalars.allSatisfy {
                        CharacterClass.isLetter(CharacterClass.of($0)) || CharacterClass.isNumber(CharacterClass.of($0))
                    })
        case "isspace": return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy(PythonText.isSpace))
        case "isupper", "islower":
            let isUpper = method == "isupper"
            let hasCase = text.unicodeScalars.contains { isUpper ? $0.properties.isUppercase : $0.properties.isLowercase }
            return .bool(hasCase && !text.unicodeScalars.contains { isUpper ? $0.properties.isLowercase : $0.properties.isUppercase })
        case "format": return .string(try braceFormatted(text, arguments))
        default: return nil
        }
    }

    /// The prefixes or suffixes asked for: one, or a tuple of them.
    private func affixes(_ arguments: EvaluatedArguments, _ method: String) throws -> [String] {
        guard let value = arguments.value(0, "prefix") else { throw failure("“\(method)” needs a string") }
        if case .list(let values) = value { return values.map(\.text) }
        return [try string(arguments, 0, method)]
    }

    private func split(_ method: String, _ text: String, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        let limit = arguments.value(1, "maxsplit")?.asInteger ?? -1
        let most = limit < 0 ? Int.max : limit
        guard let separator = try optionalString(arguments, "sep", method) else {
            return .list(PythonText.splitAtSpace(text, limit: most).map { .string($0) })
        }
        guard !separator.isEmpty else { throw failure("“\(method)” needs a separator that is not empty") }
        let parts =
            method == "split"
            ? PythonText.split(text, separator: separator, limit: most)
            : PythonText.splitFromRight(text, separator: separator, limit: most)
        try check(elements: parts.count)
        return .list(parts.map { .string($0) })
    }

    private func partition(_ method: String, _ text: String, _ separator: String) -> [TemplateValue] {
        let parts =
            method == "partition"
            ? PythonText.split(text, separator: separator, limit: 1)
            : PythonText.splitFromRight(text, separator: separator, limit: 1)
        if parts.count == 2 { return [.string(parts[0]), .string(separator), .string(parts[1])] }
        let empty = TemplateValue.string("")
        return method == "partition" ? [.string(text), empty, empty] : [empty, empty, .string(text)]
    }

    func replaced(_ text: String, _ old: String, _ new: String, limit: Int) throws -> String {
        let occurrences = min(limit, PythonText.count(text, old))
        let growth = occurrences.multipliedReportingOverflow(by: new.utf8.count)
        try check(bytes: growth.overflow ? .max : text.utf8.count + growth.partialValue)
        return PythonText.replace(text, old, new, limit: limit)
    }

    func join(_ values: [TemplateValue], _ separator: String) throws -> String {
        var bytes = 0
        let texts = values.map(\.text)
        for text in texts {
            bytes += text.utf8.count + separator.utf8.count
            try check(bytes: bytes)
        }
        return texts.joined(separator: separator)
    }

    /// `"{} {0} {name}".format(…)`, without format codes.
    private func braceFormatted(_ format: String, _ arguments: EvaluatedArguments) throws -> String {
        var result = ""
        var next = 0
        var rest = format.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if scalar == "{" || scalar == "}", rest.first == scalar {
                rest.removeFirst()
                result.unicodeScalars.append(scalar)
            } else if scalar == "{" {
                let field = String(rest.prefix { $0 != "}" })
                rest = rest.dropFirst(field.unicodeScalars.count + 1)
                let value: TemplateValue?
                if field.isEmpty {
                    value = arguments.value(next, "")
                    next += 1
                } else {
                    value = Int(field).map { arguments.value($0, "") } ?? arguments.named(field)
                }
                guard let value else { throw failure("the format's field “\(field)” has no value") }
                result += value.text
                try check(bytes: result.utf8.count)
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private func call(
        method: String, on mapping: TemplateMapping, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch method {
        case "items": return .list(mapping.entries.map { .list([.string($0.key), $0.value]) })
        case "keys": return .list(mapping.entries.map { .string($0.key) })
        case "values": return .list(mapping.entries.map(\.value))
        case "copy": return .mapping(mapping)
        case "get":
            guard let key = arguments.value(0, "key") else { throw failure("“get” needs a key") }
            if case .string(let name) = key, let value = mapping[name] { return value }
            return arguments.value(1, "default") ?? TemplateValue.none
        default: return nil
        }
    }

    private func call(
        method: String, on values: [TemplateValue], _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch method {
        case "count": return .integer(values.filter { $0.equals(arguments.value(0, "value") ?? .none) }.count)
        case "index":
            guard let place = values.firstIndex(where: { $0.equals(arguments.value(0, "value") ?? .none) }) else {
                throw failure("the list does not contain the value")
            }
            return .integer(place)
        case "copy": return .list(values)
        case "append", "extend", "insert", "pop", "remove", "sort", "reverse", "clear":
            // As in transformers' immutable sandbox.
            throw failure("a list cannot be changed by “\(method)” here")
        default: return nil
        }
    }
}
