import LorikeetGround

/// `value|filter`: those that take a text or a number; see SequenceFilters.swift for the others.
extension TemplateRun {
    static let filterNames: Set<String> = [
        "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "forceescape",
        "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr",
        "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string", "sum", "title", "tojson", "trim", "truncate",
        "unique", "upper", "urlencode", "wordcount",
    ]

    func apply(filter name: String, to value: TemplateValue, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        try charge(reading: value, arguments)
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
            let characters = arguments.value(0, "chars")?.string
            return try changed(value) { PythonText.strip($0, characters) }
        case "upper": return try changed(value) { $0.uppercased() }
        case "lower": return try changed(value) { $0.lowercased() }
        case "capitalize": return try changed(value) { PythonText.capitalize($0) }
        case "title":
            return try changed(value) {
                try charge(Self.slowByte * $0.utf8.count)
                return PythonText.title($0) { "-([{<".unicodeScalars.contains($0) || PythonText.isSpace($0) }
            }
        case "string": return value.string == nil ? .string(try text(of: value)) : value
        case "safe": return .markup(try text(of: value))
        case "escape", "e", "forceescape":
            if name != "forceescape", case .markup = value { return value }
            return .markup(try escaped(try text(of: value)))
        case "replace":
            guard let old = arguments.value(0, "old"), let new = arguments.value(1, "new") else {
                throw failure("“replace” needs what to replace and by what")
            }
            let limit = arguments.value(2, "count")?.asInteger ?? -1
            return .string(
                try replaced(try text(of: value), try text(of: old), try text(of: new), limit: limit < 0 ? .max : limit))
        case "indent": return try changed(value) { try indented($0, arguments) }
        case "tojson": return .string(try json(value, arguments))
        case "format": return .string(try percentFormatted(try text(of: value), arguments))
        case "center":
            let width = try integer(arguments.value(0, "width"), "the width", standard: 80)
            return try changed(value) { try padded($0, name, width, fill: " ") }
        case "truncate": return .string(try truncated(try text(of: value), arguments))
        case "urlencode": return .string(try urlEncoded(value))
        case "wordcount":
            return try changedTo(value) { .integer(PythonText.wordCount($0)) }
        default: return nil
        }
    }

    /// A filter that makes a text of a text, marked up as before.
    private func changed(_ value: TemplateValue, _ change: (String) throws -> String) throws -> TemplateValue {
        try changedTo(value) { text in
            if case .markup = value { return .markup(try change(text)) }
            return .string(try change(text))
        }
    }

    private func changedTo(_ value: TemplateValue, _ change: (String) throws -> TemplateValue) throws -> TemplateValue {
        let text = try text(of: value)
        try charge(3 * text.utf8.count)
        return try change(text)
    }

    /// An integer argument, or its default.
    func integer(_ value: TemplateValue?, _ what: String, standard: Int) throws -> Int {
        guard let value else { return standard }
        guard let integer = value.asInteger else { throw failure("\(what) must be an integer, not \(value.kind)") }
        return integer
    }

    func escaped(_ text: String) throws -> String {
        try charge(bytes: Saturating.product(text.utf8.count, 5))
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "'": result += "&#39;"
            case "\"": result += "&#34;"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private func indented(_ text: String, _ arguments: EvaluatedArguments) throws -> String {
        let width = arguments.value(0, "width")
        let margin = try width?.string ?? repeated(" ", max(0, try integer(width, "the width", standard: 4)))
        let indentsFirst = arguments.value(1, "first")?.isTrue ?? false
        let indentsBlank = arguments.value(2, "blank")?.isTrue ?? false
        let lines = PythonText.splitLines(text + "\n")
        try charge(elements: lines.count)
        try charge(bytes: Saturating.sum(text.utf8.count, Saturating.product(lines.count, margin.utf8.count + 1)))
        let body = lines.enumerated().map { index, line in
            index > 0 && (!line.isEmpty || indentsBlank) ? margin + line : line
        }.joined(separator: "\n")
        return indentsFirst ? margin + body : body
    }

    private func json(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> String {
        var writer = TemplateJSON()
        // transformers' parameters.
        writer.ensuresASCII = arguments.value(0, "ensure_ascii")?.isTrue ?? false
        switch arguments.value(1, "indent") {
        case nil, .some(.none): break
        case .string(let margin)?:
            writer.indent = margin
            writer.itemSeparator = ","
        case let indent?:
            writer.indent = try repeated(" ", max(0, try integer(indent, "the indent", standard: 0)))
            writer.itemSeparator = ","
        }
        if case .list(let separators)? = arguments.value(2, "separators") {
            guard separators.count == 2, let item = separators[0].string, let key = separators[1].string else {
                throw failure("“separators” takes two strings")
            }
            (writer.itemSeparator, writer.keySeparator) = (item, key)
        }
        writer.sortsKeys = arguments.value(3, "sort_keys")?.isTrue ?? false
        try charge(writer.bound(value.shape))
        guard let text = writer.text(value) else { throw failure("\(value.kind), or something in it, has no form in JSON") }
        try charge(bytes: text.utf8.count)
        return text
    }

    private func truncated(_ text: String, _ arguments: EvaluatedArguments) throws -> String {
        let length = try integer(arguments.value(0, "length"), "the length", standard: 255)
        let cutsWords = arguments.value(1, "killwords")?.isTrue ?? false
        let end = arguments.value(2, "end")?.string ?? "..."
        var leeway = 5
        if let given = arguments.value(3, "leeway"), given != .none { leeway = try integer(given, "the leeway", standard: 5) }
        try charge(2 * text.utf8.count)
        let endCount = end.unicodeScalars.count
        guard length >= endCount, leeway >= 0 else { throw failure("“truncate” needs a length of at least \(endCount)") }
        if text.unicodeScalars.count <= Saturating.sum(length, leeway) { return text }
        let cut = PythonSlice(from: nil, to: length - endCount, step: 1).text(of: text)
        return (cutsWords ? cut : PythonText.splitFromRight(cut, separator: " ", limit: 1)[0]) + end
    }

    /// Percent encoding of a text, or of a mapping as a query.
    private func urlEncoded(_ value: TemplateValue) throws -> String {
        guard case .string = value else { throw failure("“urlencode” is supported for strings only, not for \(value.kind)") }
        let text = try text(of: value)
        try charge(bytes: Saturating.product(text.utf8.count, 3))
        try charge(Saturating.product(text.utf8.count, Self.slowByte))
        var result = ""
        for byte in text.utf8 {
            let scalar = Unicode.Scalar(byte)
            if byte < 0x80, scalar.properties.isAlphabetic || (0x30...0x39).contains(byte) || "_.-~/".unicodeScalars.contains(scalar) {
                result.unicodeScalars.append(scalar)
            } else {
                let hex = String(byte, radix: 16, uppercase: true)
                result += "%" + (hex.count < 2 ? "0" : "") + hex
            }
        }
        return result
    }

    private func number(
        filter name: String, _ value: TemplateValue, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch name {
        case "int":
            if let integer = value.asInteger { return .integer(integer) }
            if case .number(let number) = value, let whole = Int(exactly: number.rounded(.towardZero)) { return .integer(whole) }
            if let text = value.string {
                let trimmed = PythonText.strip(text, nil)
                if let integer = Int(trimmed, radix: try radix(arguments.value(1, "base"))) { return .integer(integer) }
                if let number = Double(trimmed), let whole = Int(exactly: number.rounded(.towardZero)) { return .integer(whole) }
            }
            return arguments.value(0, "default") ?? .integer(0)
        case "float":
            if let number = value.asDouble { return .number(number) }
            if let text = value.string, let number = Double(PythonText.strip(text, nil)) { return .number(number) }
            return arguments.value(0, "default") ?? .number(0)
        case "abs":
            if let integer = value.asInteger, integer != .min { return .integer(abs(integer)) }
            if case .number(let number) = value { return .number(abs(number)) }
            throw failure("“abs” needs a number, not \(value.kind)")
        case "round":
            // Python rounds an integer to an integer.
            if let integer = value.asInteger, arguments.value(1, "method")?.string ?? "common" == "common" { return .integer(integer) }
            return .number(try rounded(value, arguments))
        default: return nil
        }
    }

    private func radix(_ value: TemplateValue?) throws -> Int {
        let radix = try integer(value, "the base", standard: 10)
        guard (2...36).contains(radix) else { throw failure("“int” takes a base of 2 to 36") }
        return radix
    }

    private func rounded(_ value: TemplateValue, _ arguments: EvaluatedArguments) throws -> Double {
        guard let number = value.asDouble else { throw failure("“round” needs a number, not \(value.kind)") }
        let digits = try integer(arguments.value(0, "precision"), "the precision", standard: 0)
        guard (0...15).contains(digits) else { throw failure("“round” takes 0 to 15 digits") }
        let scale = (0..<digits).reduce(1.0) { product, _ in product * 10 }
        switch arguments.value(1, "method")?.string ?? "common" {
        case "common": return (number * scale).rounded(.toNearestOrEven) / scale
        case "ceil": return (number * scale).rounded(.up) / scale
        case "floor": return (number * scale).rounded(.down) / scale
        default: throw failure("“round” knows the methods common, ceil and floor")
        }
    }
}
