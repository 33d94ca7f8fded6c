import LorikeetGround

extension Key {
    /// Text to value, with its range checked.
    ///
    /// - Parameter home: what `~/` stands for in a path.
    func parse(_ text: String, home: String?, at place: String) throws -> KeyValue {
        func wrong(_ expected: String) -> LorikeetError { .input("'\(name)' has to be \(expected), not '\(text)'", at: place, fix: "give \(expected)") }
        switch type {
        case .string:
            guard !text.isEmpty else { throw wrong("a text") }
            if name == "chat_template", text == "tokenizer_default" { return .none }
            if name == "template_date", !Self.isDate(text) { throw wrong("a date such as 2026-01-31") }
            return .text(text)
        case .path:
            guard !text.isEmpty else { throw wrong("a text") }
            return .text(try path(text, home: home, at: place))
        case .paths: return try list(text.contains(",") ? text.split(separator: ",").map { $0.trimmed } : [text], home: home, at: place)
        case .pairs: return try pairs(text.split(separator: ",").map { $0.trimmed }, at: place)
        case .flag:
            guard let value = Recipe.switchValue(text) else { throw wrong("true or false") }
            return .flag(value)
        case .integer(let range):
            guard let value = Int(text) ?? Double(text).flatMap({ Int(exactly: $0) }) else { throw wrong("a whole number") }
            guard range.contains(value) else { throw wrong("between \(range.lowerBound) and \(range.upperBound)") }
            return .integer(value)
        case .number(let range):
            guard let value = Double(text), value.isFinite else { throw wrong("a number") }
            guard range.contains(value) else { throw wrong("between \(range.lowerBound) and \(range.upperBound)") }
            return .number(value)
        case .choice(let names):
            guard names.contains(text) else {
                throw LorikeetError.input("'\(name)' cannot be '\(text)'", at: place, fix: "give one of \(names.joined(separator: ", "))")
            }
            return .text(text)
        case .list: return try list(text.split(separator: ",").map { $0.filter { $0 != " " } }, home: home, at: place)
        case .bytes:
            guard (try? Units.parseBytes(text)) != nil else { throw wrong("a size such as 15GiB or 500MB") }
            return .text(text)
        case .duration:
            if text == "none" { return .none }
            guard (try? Units.parseSeconds(text)) != nil else { throw wrong("a duration such as 9h, 90m or 1h30m") }
            return .text(text)
        case .timeOfDay:
            guard TimeOfDay(text) != nil else { throw wrong("a time of day such as 18:30") }
            return .text(text)
        case .device:
            guard ["auto", "cpu", "cuda"].contains(text) || text.wholeMatch(of: /cuda:\d{1,2}/) != nil else { throw wrong("auto, cpu or cuda:N") }
            return .text(text)
        }
    }

    /// A list of names or paths. One path is held as a text, which a comma would cut.
    func list(_ names: [String], home: String?, at place: String) throws -> KeyValue {
        guard !names.isEmpty, !names.contains("") else { throw LorikeetError.input("'\(name)' needs at least one name", at: place, fix: "write [a, b]") }
        guard type == .paths else { return .list(names) }
        let paths = try names.map { try path($0, home: home, at: place) }
        return paths.count == 1 && !paths[0].contains(",") ? .text(paths[0]) : .list(paths)
    }

    /// `a=b` entries, each with both names.
    func pairs(_ entries: [String], at place: String) throws -> KeyValue {
        guard !entries.isEmpty else {
            throw LorikeetError.input("'\(name)' needs at least one pair", at: place, fix: "write instruction=question,output=answer")
        }
        var names: Set<Substring> = []
        for entry in entries {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                throw LorikeetError.input("'\(entry)' of '\(name)' is not written name=name", at: place, fix: "write instruction=question,output=answer")
            }
            guard names.insert(parts[0]).inserted else {
                throw LorikeetError.input("'\(parts[0])' stands twice in '\(name)'", at: place, fix: "give one name for it")
            }
        }
        return .list(entries)
    }

    /// `~` and `~/…` stand for the home folder, as in a shell.
    private func path(_ text: String, home: String?, at place: String) throws -> String {
        guard text == "~" || text.hasPrefix("~/") else { return text }
        guard let home else { throw LorikeetError.input("the home folder that '~' stands for is not known", at: place, fix: "write the whole path") }
        return home + text.dropFirst()
    }

    /// A calendar date as `yyyy-mm-dd`.
    private static func isDate(_ text: String) -> Bool { Recipe.seconds(ofDate: text) != nil }
}

extension KeyValue {
    /// Two values of a key of paths as one.
    func joined(_ other: KeyValue) -> KeyValue {
        func names(_ value: KeyValue) -> [String] {
            switch value {
            case .text(let text): [text]
            case .list(let list): list
            default: []
            }
        }
        return .list(names(self) + names(other))
    }
}

extension Recipe {
    /// Seconds since 1970 at the beginning of a day in UTC; nil where `text` is no date written as `yyyy-mm-dd`.
    package static func seconds(ofDate text: String) -> Double? {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard text.utf8.count == 10, parts.count == 3, parts.allSatisfy({ $0.utf8.allSatisfy { 0x30...0x39 ~= $0 } }), let year = Int(parts[0]),
            let month = Int(parts[1]), let day = Int(parts[2]), (1970...9999).contains(year), (1...12).contains(month)
        else { return nil }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard (1...lengths[month - 1]).contains(day) else { return nil }
        let before = year - 1
        let days = before * 365 + before / 4 - before / 100 + before / 400 - 719_162
        return Double((days + lengths.prefix(month - 1).reduce(0, +) + day - 1) * 86_400)
    }

    /// The day in UTC of a time in seconds since 1970, as `yyyy-mm-dd`.
    package static func date(ofSeconds seconds: Double) -> String {
        // Days are counted from 1 March of year 0, so that leap days come last (Howard Hinnant, "chrono-compatible low-level date algorithms").
        let days = Int((min(max(0, seconds), 2.5e11) / 86_400).rounded(.down)) + 719_468
        let era = days / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let (day, month) = (dayOfYear - (153 * shifted + 2) / 5 + 1, shifted < 10 ? shifted + 3 : shifted - 9)
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return "\(year.zeroPadded(to: 4))-\(month.zeroPadded(to: 2))-\(day.zeroPadded(to: 2))"
    }
}
