import LorikeetGround

/// How one field of a format is written: `[[fill]align][sign][0][width][.precision][type]`.
private struct FieldFormat {
    var fill: Unicode.Scalar = " "
    var align: Unicode.Scalar?
    var sign: Unicode.Scalar?
    var width = 0
    var precision: Int?
    var type: Unicode.Scalar = "s"

    static let widest = 4096
}

/// Python's `%` and `str.format`.
extension TemplateRun {
    /// `"…%s…" % values`.
    func percentFormatted(_ format: String, _ arguments: EvaluatedArguments) throws -> String {
        try charge(bytes: format.utf8.count)
        var result = ""
        var next = 0
        var rest = format.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            if rest.first == "%" {
                rest.removeFirst()
                result += "%"
                continue
            }
            let (name, field) = try percentField(&rest)
            let value: TemplateValue?
            if let name {
                value = arguments.named(name) ?? named(name, in: arguments.positional.first)
            } else {
                value = next < arguments.positional.count ? arguments.positional[next] : nil
                next += 1
            }
            guard let value else { throw failure("the format has more fields than values") }
            result += try formatted(value, field)
            if result.utf8.count > Self.maximumBytes { try charge(bytes: result.utf8.count) }
        }
        guard next == 0 || next == arguments.positional.count else { throw failure("the format has fewer fields than values") }
        return result
    }

    private func named(_ name: String, in value: TemplateValue?) -> TemplateValue? {
        if case .mapping(let mapping)? = value { mapping[name] } else { nil }
    }

    /// `(name)`, flags, width, precision and type behind a `%`.
    private func percentField(_ rest: inout Substring.UnicodeScalarView) throws -> (name: String?, field: FieldFormat) {
        var name: String?
        if rest.first == "(" {
            name = String(rest.dropFirst().prefix { $0 != ")" })
            rest = rest.drop { $0 != ")" }.dropFirst()
        }
        var field = FieldFormat()
        field.align = ">"
        while let flag = rest.first, "-+ 0".unicodeScalars.contains(flag) {
            rest.removeFirst()
            if flag == "-" { field.align = "<" } else if flag == "0" { field.fill = "0" } else { field.sign = flag }
        }
        try readSize(&rest, into: &field)
        guard let type = rest.popFirst(), "srdiufFxX".unicodeScalars.contains(type) else {
            throw failure("the format has a field that is not supported")
        }
        field.type = type == "i" || type == "u" ? "d" : type
        if field.fill == "0", "sr".unicodeScalars.contains(type) || field.align == "<" { field.fill = " " }
        return (name, field)
    }

    private func readSize(_ rest: inout Substring.UnicodeScalarView, into field: inout FieldFormat) throws {
        func number() throws -> Int? {
            let digits = rest.prefix { ("0"..."9").contains($0) }
            rest = rest.dropFirst(digits.count)
            if digits.isEmpty { return nil }
            guard let value = Int(String(digits)), value <= FieldFormat.widest else {
                throw failure("a field of the format is wider than \(FieldFormat.widest)")
            }
            return value
        }
        field.width = try number() ?? 0
        if rest.first == "." {
            rest.removeFirst()
            field.precision = try number() ?? 0
        }
    }

    /// `"{} {0} {name:>8}".format(…)`.
    func braceFormatted(_ format: String, _ arguments: EvaluatedArguments) throws -> String {
        try charge(bytes: format.utf8.count)
        var result = ""
        var next = 0
        var rest = format.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            if scalar == "{" || scalar == "}", rest.first == scalar {
                rest.removeFirst()
                result.unicodeScalars.append(scalar)
                continue
            }
            guard scalar == "{" else {
                guard scalar != "}" else { throw failure("the format has a single “}”") }
                result.unicodeScalars.append(scalar)
                continue
            }
            let inside = rest.prefix { $0 != "}" }
            rest = rest.dropFirst(inside.count)
            guard rest.popFirst() != nil else { throw failure("the format has a “{” without an end") }
            let parts = PythonText.split(String(inside), separator: ":", limit: 1)
            let value: TemplateValue?
            if parts[0].isEmpty {
                value = next < arguments.positional.count ? arguments.positional[next] : nil
                next += 1
            } else {
                value = Int(parts[0]).map { arguments.positional.indices.contains($0) ? arguments.positional[$0] : nil } ?? arguments.named(parts[0])
            }
            guard let value else { throw failure("the format's field “\(parts[0])” has no value or is not supported") }
            result += try formatted(value, try braceField(parts.count > 1 ? parts[1] : "", value))
            if result.utf8.count > Self.maximumBytes { try charge(bytes: result.utf8.count) }
        }
        return result
    }

    private func braceField(_ text: String, _ value: TemplateValue) throws -> FieldFormat {
        var field = FieldFormat()
        let isNumber = value.asDouble != nil
        field.align = isNumber ? ">" : "<"
        guard !text.isEmpty else { return field }
        var rest = text.unicodeScalars[...]
        func isAlign(_ scalar: Unicode.Scalar?) -> Bool { scalar.map { "<>^".unicodeScalars.contains($0) } ?? false }
        if let fill = rest.first, isAlign(rest.dropFirst().first) {
            field.fill = fill
            field.align = rest.dropFirst().first
            rest = rest.dropFirst(2)
        } else if isAlign(rest.first) {
            field.align = rest.popFirst()
        }
        if let sign = rest.first, "+- ".unicodeScalars.contains(sign) { field.sign = rest.popFirst() }
        if rest.first == "0" {
            rest.removeFirst()
            field.fill = "0"
        }
        try readSize(&rest, into: &field)
        if case .integer = value { field.type = "d" }
        if case .bool = value { field.type = "d" }
        if let type = rest.popFirst() { field.type = type }
        let allowed = isNumber ? "dfFxX" : "s"
        guard rest.isEmpty, allowed.unicodeScalars.contains(field.type) || (isNumber && field.type == "s" && field.precision == nil) else {
            throw failure("the format “\(text)” is not supported for \(value.kind)")
        }
        return field
    }

    private func formatted(_ value: TemplateValue, _ field: FieldFormat) throws -> String {
        var body: String
        switch field.type {
        case "s", "r":
            body = field.type == "s" ? try text(of: value) : try represented(value)
            try charge(body.utf8.count)
            if let precision = field.precision { body = PythonSlice(from: nil, to: precision, step: 1).text(of: body) }
        case "f", "F":
            guard let number = value.asDouble else { throw failure("a number's format needs a number, not \(value.kind)") }
            body = try fixed(number, digits: field.precision ?? 6)
        default:
            guard let number = value.asDouble else { throw failure("a number's format needs a number, not \(value.kind)") }
            guard let whole = value.asInteger ?? Int(exactly: number.rounded(.towardZero)), field.precision == nil else {
                throw failure("the integer is out of range, or its format is not supported")
            }
            body = field.type == "d" ? String(whole) : String(whole, radix: 16, uppercase: field.type == "X")
        }
        var sign = ""
        if !"sr".unicodeScalars.contains(field.type) {
            if body.hasPrefix("-") { (sign, body) = ("-", String(body.dropFirst())) } else if let given = field.sign, given != "-" { sign = String(given) }
        }
        let missing = max(0, field.width - body.unicodeScalars.count - sign.unicodeScalars.count)
        try charge(body.utf8.count + missing)
        let fill = { (count: Int) in String(repeating: String(field.fill), count: count) }
        if field.fill == "0", field.align == ">" { return sign + fill(missing) + body }
        switch field.align {
        case "<": return sign + body + fill(missing)
        case "^": return fill(missing / 2) + sign + body + fill(missing - missing / 2)
        default: return fill(missing) + sign + body
        }
    }

    private func represented(_ value: TemplateValue) throws -> String {
        try charge(Saturating.product(value.shape.weight, 4))
        return value.represented
    }

    /// A number with so many digits behind the point. Exact for numbers below 2⁵³ when scaled.
    private func fixed(_ number: Double, digits: Int) throws -> String {
        if !number.isFinite { return PythonNumber.text(number) }
        guard digits <= 15 else { throw failure("a number's format has at most 15 digits behind the point") }
        let scale = (0..<digits).reduce(1) { product, _ in product * 10 }
        let scaled = (number.magnitude * Double(scale)).rounded(.toNearestOrEven)
        guard let whole = Int(exactly: scaled), whole < 1 << 53 else { throw failure("the number is too large for its format") }
        let (integer, fraction) = whole.quotientAndRemainder(dividingBy: scale)
        let tail = String(fraction)
        let sign = number.sign == .minus ? "-" : ""
        return sign + String(integer) + (digits == 0 ? "" : "." + String(repeating: "0", count: digits - tail.count) + tail)
    }
}
