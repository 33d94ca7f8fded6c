import LorikeetGround

/// The functions that templates find: Jinja's own and those that transformers adds.
enum TemplateFunctions {
    static let names: Set<String> = ["range", "dict", "namespace", "raise_exception", "strftime_now"]

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    /// `strftime` in UTC for the codes that templates use; nil for one that is not known.
    static func date(_ format: String, seconds: Double) -> String? {
        guard seconds.isFinite, abs(seconds) < 1e13 else { return nil }
        let total = Int(seconds.rounded(.down))
        let day = total >= 0 ? total / 86_400 : (total - 86_399) / 86_400
        let second = total - day * 86_400
        let (year, month, monthDay) = civil(day)
        let (hour, minute) = (second / 3600, second / 60 % 60)
        func padded(_ value: Int, _ width: Int = 2) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
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
            let width = isUnpadded ? 1 : 2
            isUnpadded = false
            switch scalar {
            case "Y": result += padded(year, 4)
            case "y": result += padded(year % 100, width)
            case "m": result += padded(month, width)
            case "d": result += padded(monthDay, width)
            case "B": result += months[month - 1]
            case "b", "h": result += months[month - 1].prefix(3)
            case "A": result += days[((day + 4) % 7 + 7) % 7]
            case "a": result += days[((day + 4) % 7 + 7) % 7].prefix(3)
            case "H": result += padded(hour, width)
            case "I": result += padded((hour + 11) % 12 + 1, width)
            case "M": result += padded(minute, width)
            case "S": result += padded(second % 60, width)
            case "p": result += hour < 12 ? "AM" : "PM"
            case "F": result += "\(padded(year, 4))-\(padded(month))-\(padded(monthDay))"
            case "T": result += "\(padded(hour)):\(padded(minute)):\(padded(second % 60))"
            case "Z": result += "UTC"
            case "%": result += "%"
            default: return nil
            }
        }
        return code == nil ? result : nil
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
        switch name {
        case "range": return try range(arguments)
        case "dict": return .mapping(try mapping(arguments))
        case "namespace":
            namespaces.append(try mapping(arguments))
            return .namespace(namespaces.count - 1)
        case "raise_exception":
            throw failure("the chat template refuses the conversation: \(arguments.value(0, "message")?.text ?? "")")
        case "strftime_now":
            guard let now, case .string(let format)? = arguments.value(0, "format"),
                let text = TemplateFunctions.date(format, seconds: now)
            else { throw failure("“strftime_now” was given a format that is not supported") }
            return .string(text)
        default: throw failure("the function “\(name)” is not supported")
        }
    }

    private func mapping(_ arguments: EvaluatedArguments) throws -> TemplateMapping {
        var result = TemplateMapping()
        switch arguments.positional.first {
        case .mapping(let first)?: result = first
        case .list(let pairs)?:
            for pair in pairs {
                guard case .list(let parts) = pair, parts.count == 2, case .string(let key) = parts[0] else {
                    throw failure("a mapping is made of pairs of a string and a value")
                }
                result[key] = parts[1]
            }
        case nil: break
        case let other?: throw failure("a mapping cannot be made of \(other.kind)")
        }
        for (name, value) in arguments.named { result[name] = value }
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
        let span = last.subtractingReportingOverflow(first)
        guard !span.overflow else { throw failure("the range is too long") }
        try check(elements: span.partialValue.magnitude > UInt(Int.max) ? .max : Int(span.partialValue.magnitude / step.magnitude))
        return .list(stride(from: first, to: last, by: step).map { .integer($0) })
    }
}
