/// `tojson` as transformers sets it up: Python's `json.dumps`, nothing escaped for HTML.
struct TemplateJSON {
    /// What one level is indented by; nil: everything on one line.
    var indent: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false
    var ensuresASCII = false

    /// An upper bound of the bytes that the value's text takes; never overflows.
    func bound(_ shape: ValueShape) -> Int {
        let margin = Saturating.product((indent?.utf8.count ?? 0) + 1, Int(shape.depth) + 1)
        let perPart = Saturating.sum(itemSeparator.utf8.count + keySeparator.utf8.count, margin)
        return Saturating.sum(Saturating.product(shape.weight / 16 + 1, perPart), Saturating.product(shape.weight, ensuresASCII ? 6 : 2))
    }

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
        case .string(let value), .markup(let value): append(quoted: value, to: &result)
        case .list(let values):
            return appendContainer("[", "]", count: values.count, level: level, to: &result) { index, result in
                append(values[index], level: level + 1, to: &result)
            }
        case .mapping(let mapping):
            let entries = sortsKeys ? mapping.entries.sorted { PythonText.precedes($0.key.text, $1.key.text) } : mapping.entries
            return appendContainer("{", "}", count: entries.count, level: level, to: &result) { index, result in
                append(quoted: entries[index].key.text, to: &result)
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
            if let indent { result += "\n" + PythonText.repeated(indent, level + 1) }
            guard element(index, &result) else { return false }
        }
        if let indent, count > 0 { result += "\n" + PythonText.repeated(indent, level) }
        result += close
        return true
    }

    private func append(quoted text: String, to result: inout String) {
        result += "\""
        let isPlain = text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C && ($0 < 0x7F || !ensuresASCII) }
        if isPlain {
            result += text
        } else {
            for scalar in text.unicodeScalars { append(scalar, to: &result) }
        }
        result += "\""
    }

    private func append(_ scalar: Unicode.Scalar, to result: inout String) {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\r": result += "\\r"
        case "\t": result += "\\t"
        case "\u{8}": result += "\\b"
        case "\u{C}": result += "\\f"
        case _ where scalar.value < 0x20 || (ensuresASCII && scalar.value > 0x7E):
            for unit in UTF16.encode(scalar) ?? .init() {
                let hex = String(unit, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            }
        default: result.unicodeScalars.append(scalar)
        }
    }
}
