import LorikeetGround

/// Methods of strings, as Python names them.
extension TemplateRun {
    private func string(_ arguments: EvaluatedArguments, _ index: Int, _ method: String) throws -> String {
        guard let text = arguments.value(index, "")?.string else { throw failure("“\(method)” needs a string") }
        return text
    }

    private func optionalString(_ arguments: EvaluatedArguments, _ name: String, _ method: String) throws -> String? {
        switch arguments.value(0, name) {
        case nil, .some(.none): return nil
        case .string(let text)?, .markup(let text)?: return text
        case let other?: throw failure("“\(method)” needs a string, not \(other.kind)")
        }
    }

    func call(method: String, on text: String, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        // Every one reads the text about once and makes one of at most three times its bytes (case mappings).
        try charge((["title", "swapcase"].contains(method) ? Self.slowByte : 3) * text.utf8.count)
        if let result = try change(method, text, arguments) { return .string(result) }
        if let result = try look(method, text, arguments) { return result }
        switch method {
        case "split", "rsplit": return try split(method, text, arguments)
        case "splitlines":
            let keepsEnds = arguments.value(0, "keepends")?.isTrue ?? false
            let lines = PythonText.splitLines(text, keepingEnds: keepsEnds)
            try charge(elements: lines.count)
            return .list(lines.map { .string($0) })
        case "partition", "rpartition": return .tuple(try partition(method, text, try string(arguments, 0, method)))
        case "format": return .string(try braceFormatted(text, arguments))
        default:
            guard PythonMethods.of(.string(""))?.reading.contains(method) == true else { return nil }
            throw failure("the method “\(method)” of strings is not supported")
        }
    }

    /// Methods that make another string.
    private func change(_ method: String, _ text: String, _ arguments: EvaluatedArguments) throws -> String? {
        switch method {
        case "strip": return PythonText.strip(text, try optionalString(arguments, "chars", method))
        case "lstrip": return PythonText.strip(text, try optionalString(arguments, "chars", method), right: false)
        case "rstrip": return PythonText.strip(text, try optionalString(arguments, "chars", method), left: false)
        case "upper": return text.uppercased()
        case "lower", "casefold": return text.lowercased()
        case "swapcase": return PythonText.swapCase(text)
        case "title": return PythonText.title(text) { !$0.properties.isCased }
        case "capitalize": return PythonText.capitalize(text)
        case "replace":
            let limit = arguments.value(2, "count")?.asInteger ?? -1
            let (old, new) = (try string(arguments, 0, method), try string(arguments, 1, method))
            return try replaced(text, old, new, limit: limit < 0 ? .max : limit)
        case "join": return try join(try elements(of: arguments.value(0, "iterable") ?? .list([])), text, strict: true)
        case "removeprefix":
            let prefix = try string(arguments, 0, method)
            return PythonText.hasPrefix(text, prefix) ? String(decoding: text.utf8.dropFirst(prefix.utf8.count), as: UTF8.self) : text
        case "removesuffix":
            let suffix = try string(arguments, 0, method)
            return PythonText.hasSuffix(text, suffix) ? String(decoding: text.utf8.dropLast(suffix.utf8.count), as: UTF8.self) : text
        case "center", "ljust", "rjust", "zfill":
            guard let width = arguments.value(0, "width")?.asInteger else { throw failure("“\(method)” needs a width") }
            return try padded(text, method, width, fill: method == "zfill" ? "0" : arguments.value(1, "fillchar")?.string ?? " ")
        default: return nil
        }
    }

    /// The text with `fill` up to `width` scalars.
    func padded(_ text: String, _ method: String, _ width: Int, fill: String) throws -> String {
        guard fill.unicodeScalars.count == 1 else { throw failure("“\(method)” fills with one character") }
        let length = text.unicodeScalars.count
        guard width > length else { return text }
        let missing = width - length
        try charge(bytes: Saturating.sum(text.utf8.count, Saturating.product(missing, fill.utf8.count)))
        func filled(_ count: Int) -> String { PythonText.repeated(fill, count) }
        switch method {
        case "ljust": return text + filled(missing)
        case "rjust": return filled(missing) + text
        case "zfill":
            let sign = text.hasPrefix("-") || text.hasPrefix("+") ? String(text.prefix(1)) : ""
            return sign + filled(missing) + text.dropFirst(sign.count)
        default:
            // As Python: of an odd number the left side takes the larger half where the width is odd.
            let left = missing / 2 + (missing & width & 1)
            return filled(left) + text + filled(missing - left)
        }
    }

    /// Methods that ask about a string.
    private func look(_ method: String, _ text: String, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        switch method {
        case "startswith", "endswith":
            let (part, _) = try bounded(text, arguments)
            let affixes = try affixes(arguments, method)
            return .bool(affixes.contains { method == "startswith" ? PythonText.hasPrefix(part, $0) : PythonText.hasSuffix(part, $0) })
        case "find", "index", "rfind", "rindex":
            let wanted = try string(arguments, 0, method)
            let (part, start) = try bounded(text, arguments)
            if let place = method.hasPrefix("r") ? PythonText.findLast(part, wanted) : PythonText.find(part, wanted) { return .integer(start + place) }
            guard method.hasSuffix("find") else { throw failure("the text does not contain the part") }
            return .integer(-1)
        case "count": return .integer(PythonText.count(try bounded(text, arguments).part, try string(arguments, 0, method)))
        case "isdigit", "isdecimal", "isnumeric":
            return .bool(
                !text.isEmpty
                    && text.unicodeScalars.allSatisfy {
                        guard let type = $0.properties.numericType else { return false }
                        return method == "isnumeric" || type == .decimal || (method == "isdigit" && type == .digit)
                    })
        case "isalpha": return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy { CharacterClass.isLetter(CharacterClass.of($0)) })
        case "isalnum":
            return .bool(
                !text.isEmpty
                    && text.unicodeScalars.allSatisfy { CharacterClass.isLetter(CharacterClass.of($0)) || $0.properties.numericType != nil })
        case "isascii": return .bool(text.utf8.allSatisfy { $0 < 0x80 })
        case "isspace": return .bool(!text.isEmpty && text.unicodeScalars.allSatisfy(PythonText.isSpace))
        case "isupper", "islower":
            let isUpper = method == "isupper"
            let hasCase = text.unicodeScalars.contains { isUpper ? $0.properties.isUppercase : $0.properties.isLowercase }
            return .bool(hasCase && !text.unicodeScalars.contains { isUpper ? $0.properties.isLowercase : $0.properties.isUppercase })
        default: return nil
        }
    }

    /// The part of the text that the arguments `start` and `end` leave, and where it begins.
    private func bounded(_ text: String, _ arguments: EvaluatedArguments) throws -> (part: String, start: Int) {
        guard arguments.positional.count > 1 else { return (text, 0) }
        let count = text.unicodeScalars.count
        let slice = PythonSlice(from: arguments.positional[1].asInteger, to: arguments.value(2, "")?.asInteger, step: 1)
        let places = slice.places(in: count)
        return (slice.text(of: text), places.first ?? 0)
    }

    /// The prefixes or suffixes asked for: one, or a tuple of them.
    private func affixes(_ arguments: EvaluatedArguments, _ method: String) throws -> [String] {
        guard let value = arguments.positional.first else { throw failure("“\(method)” needs a string") }
        guard case .list(let values) = value else { return [try string(arguments, 0, method)] }
        try charge(walking: value)
        return try values.map { value in
            guard let text = value.string else { throw failure("“\(method)” needs strings, not \(value.kind)") }
            return text
        }
    }

    private func split(_ method: String, _ text: String, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        let limit = arguments.value(1, "maxsplit")?.asInteger ?? -1
        let most = limit < 0 ? Int.max : limit
        let parts: [String]
        if let separator = try optionalString(arguments, "sep", method) {
            guard !separator.isEmpty else { throw failure("“\(method)” needs a separator that is not empty") }
            try charge(elements: min(most, PythonText.count(text, separator)))
            parts =
                method == "split"
                ? PythonText.split(text, separator: separator, limit: most)
                : PythonText.splitFromRight(text, separator: separator, limit: most)
        } else {
            parts = method == "split" ? PythonText.splitAtSpace(text, limit: most) : PythonText.splitAtSpaceFromRight(text, limit: most)
            try charge(elements: parts.count)
        }
        return .list(parts.map { .string($0) })
    }

    private func partition(_ method: String, _ text: String, _ separator: String) throws -> [TemplateValue] {
        guard !separator.isEmpty else { throw failure("“\(method)” needs a separator that is not empty") }
        let parts =
            method == "partition"
            ? PythonText.split(text, separator: separator, limit: 1)
            : PythonText.splitFromRight(text, separator: separator, limit: 1)
        if parts.count == 2 { return [.string(parts[0]), .string(separator), .string(parts[1])] }
        let empty = TemplateValue.string("")
        return method == "partition" ? [.string(text), empty, empty] : [empty, empty, .string(text)]
    }

    func replaced(_ text: String, _ old: String, _ new: String, limit: Int) throws -> String {
        try charge(2 * text.utf8.count + 8 * old.utf8.count)
        let occurrences = min(limit, PythonText.count(text, old))
        try charge(bytes: Saturating.sum(text.utf8.count, Saturating.product(occurrences, new.utf8.count)))
        return PythonText.replace(text, old, new, limit: limit)
    }

    /// - Parameter strict: as Python's method, which takes strings only; Jinja's filter takes anything.
    func join(_ values: [TemplateValue], _ separator: String, strict: Bool = false) throws -> String {
        if strict, let other = values.first(where: { $0.string == nil }) { throw failure("“join” needs strings, not \(other.kind)") }
        let texts = try values.map { try text(of: $0) }
        try charge(bytes: texts.reduce(Saturating.product(values.count, separator.utf8.count)) { Saturating.sum($0, $1.utf8.count) })
        return texts.joined(separator: separator)
    }
}
