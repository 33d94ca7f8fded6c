import LorikeetGround

/// The functions that templates find: Jinja's own and those that transformers adds.
enum TemplateFunctions {
    static let names: Set<String> = ["range", "dict", "namespace", "joiner", "cycler", "raise_exception", "strftime_now"]

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    /// `strftime` in UTC and the C locale; nil for a code that is not known.
    static func date(_ format: String, seconds: Double) -> String? {
        guard seconds.isFinite, abs(seconds) < 1e11 else { return nil }
        let total = Int(seconds.rounded(.down))
        let date = CalendarDate(second: total)
        var result = ""
        var code: Unicode.Scalar?
        var isUnpadded = false
        for scalar in format.unicodeScalars {
            guard code != nil else {
                if scalar == "%" { code = scalar } else { result.unicodeScalars.append(scalar) }
                continue
            }
            if scalar == "-" {
                isUnpadded = true
                continue
            }
            code = nil
            guard let text = field(scalar, of: date, isUnpadded: isUnpadded) else { return nil }
            isUnpadded = false
            result += text
        }
        return code == nil ? result : nil
    }

    private static func field(_ code: Unicode.Scalar, of date: CalendarDate, isUnpadded: Bool) -> String? {
        func padded(_ value: Int, _ width: Int = 2, with fill: String = "0") -> String {
            let digits = String(value)
            return isUnpadded ? digits : String(repeating: fill, count: max(0, width - digits.count)) + digits
        }
        func fields(_ codes: String) -> String? {
            var result = ""
            for scalar in codes.unicodeScalars {
                guard CharacterClass.isLetter(CharacterClass.of(scalar)) else {
                    result.unicodeScalars.append(scalar)
                    continue
                }
                guard let text = field(scalar, of: date, isUnpadded: false) else { return nil }
                result += text
            }
            return result
        }
        switch code {
        case "Y": return String(date.year)
        case "C": return padded(date.year / 100)
        case "y": return padded(date.year % 100)
        case "m": return padded(date.month)
        case "d": return padded(date.day)
        case "e": return padded(date.day, 2, with: " ")
        case "j": return padded(date.dayOfYear, 3)
        case "B": return months[date.month - 1]
        case "b", "h": return String(months[date.month - 1].prefix(3))
        case "A": return days[date.weekday]
        case "a": return String(days[date.weekday].prefix(3))
        case "w": return String(date.weekday)
        case "u": return String((date.weekday + 6) % 7 + 1)
        case "H": return padded(date.hour)
        case "I": return padded((date.hour + 11) % 12 + 1)
        case "M": return padded(date.minute)
        case "S": return padded(date.second)
        case "f": return "000000"
        case "p": return date.hour < 12 ? "AM" : "PM"
        case "F": return fields("Y-m-d")
        case "T", "X": return fields("H:M:S")
        case "R": return fields("H:M")
        case "D", "x": return fields("m/d/y")
        case "c": return fields("a b e H:M:S Y")
        // A time without a zone, as Python's `datetime.now()` is.
        case "Z", "z": return ""
        case "n": return "\n"
        case "t": return "\t"
        case "%": return "%"
        default: return nil
        }
    }
}

/// A second since 1970 as date and time in UTC.
private struct CalendarDate {
    let year, month, day, dayOfYear, weekday, hour, minute, second: Int

    init(second total: Int) {
        let days = total >= 0 ? total / 86_400 : (total - 86_399) / 86_400
        let ofDay = total - days * 86_400
        (year, month, day) = Self.civil(days)
        let isLeap = year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
        dayOfYear = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month - 1] + day + (isLeap && month > 2 ? 1 : 0)
        weekday = ((days + 4) % 7 + 7) % 7
        (hour, minute, second) = (ofDay / 3600, ofDay / 60 % 60, ofDay % 60)
    }

    /// Days since 1970 → year, month, day (Gregorian; eras of 400 years that begin in March).
    private static func civil(_ day: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let ofEra = shifted - era * 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let part = (5 * ofYear + 2) / 153
        let month = part < 10 ? part + 3 : part - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, ofYear - (153 * part + 2) / 5 + 1)
    }
}

extension TemplateRun {
    func call(function name: String, _ arguments: EvaluatedArguments) throws -> TemplateValue {
        try charge(reading: nil, arguments)
        switch name {
        case "range": return try range(arguments)
        case "dict": return .mapping(try mapping(arguments))
        case "namespace":
            let values = try mapping(arguments)
            namespaces.append(TemplateMapping())
            for (key, value) in values.entries { try set(key.text, of: namespaces.count - 1, to: value) }
            return .namespace(namespaces.count - 1)
        case "joiner":
            counters.append(([.string(try text(of: arguments.value(0, "sep") ?? .string(", ")))], true, 0))
            return .counter(counters.count - 1)
        case "cycler":
            guard !arguments.positional.isEmpty else { throw failure("“cycler” needs values") }
            for value in arguments.positional { try checkShape(value) }
            counters.append((arguments.positional, false, 0))
            return .counter(counters.count - 1)
        case "raise_exception":
            let message = try text(of: arguments.value(0, "message") ?? .string("")).prefix(Self.longestMessage)
            throw failure("the chat template refuses the conversation: \(String(message).printable(lines: false))")
        case "strftime_now":
            guard let now, case .string(let format)? = arguments.value(0, "format"),
                let text = TemplateFunctions.date(format, seconds: now)
            else { throw failure("“strftime_now” was given a format that is not supported") }
            return .string(text)
        default: throw failure("the function “\(name)” is not supported")
        }
    }

    /// The longest text of a template's own refusal that is shown, in characters.
    private static let longestMessage = 500

    /// The next value of a cycler; a joiner's separator, but nothing at its first use.
    func take(from counter: Int) -> TemplateValue {
        let taken = counters[counter].taken
        counters[counter].taken = taken == .max ? 1 : taken + 1
        if counters[counter].isJoiner, taken == 0 { return .string("") }
        return counters[counter].values[taken % counters[counter].values.count]
    }

    private func mapping(_ arguments: EvaluatedArguments) throws -> TemplateMapping {
        var result = TemplateMapping()
        switch arguments.positional.first {
        case .mapping(let first)?: result = first
        case .list(let pairs)?:
            try charge(elements: pairs.count)
            for pair in pairs {
                guard case .list(let parts) = pair, parts.count == 2, let key = try mappingKey(parts[0]) else {
                    throw failure("a mapping is made of pairs of a key and a value")
                }
                result[key] = parts[1]
            }
        case nil: break
        case let other?: throw failure("a mapping cannot be made of \(other.kind)")
        }
        result.message = -1
        for (name, value) in arguments.named { result[.string(name)] = value }
        try checkShape(.mapping(result))
        return result
    }

    private func range(_ arguments: EvaluatedArguments) throws -> TemplateValue {
        let bounds = try arguments.positional.map { value -> Int in
            guard let bound = value.asInteger else { throw failure("range needs integers, not \(value.kind)") }
            return bound
        }
        guard (1...3).contains(bounds.count) else { throw failure("range takes one to three integers") }
        let (first, last) = bounds.count == 1 ? (0, bounds[0]) : (bounds[0], bounds[1])
        let step = bounds.count == 3 ? bounds[2] : 1
        guard step != 0 else { throw failure("the step of a range must not be 0") }
        let (span, overflows) = last.subtractingReportingOverflow(first)
        guard !overflows else { throw failure("the range is too long") }
        let isEmpty = span == 0 || (span < 0) != (step < 0)
        let count = isEmpty ? 0 : (span.magnitude - 1) / step.magnitude + 1
        try charge(elements: Int(clamping: count))
        return .list((0..<Int(count)).map { .integer(first + $0 * step) })
    }
}
