extension Int {
    /// The smallest multiple of `unit`, a positive number, that is not below this number.
    @inlinable package func roundedUp(toMultipleOf unit: Int) -> Int { (self + unit - 1) / unit * unit }

    /// The decimal digits of this number, which is not negative, with zeros in front where it has fewer than `width`: `00042`.
    package func zeroPadded(to width: Int) -> String {
        let digits = String(self)
        return String(repeating: "0", count: Swift.max(0, width - digits.count)) + digits
    }
}

/// Sizes and durations as people write them.
package enum Units {
    /// `15GiB`, `8.2 GiB`, `500MB`, `1024`: bytes. Throws exit 2 naming what is expected.
    package static func parseBytes(_ text: String) throws -> Int64 {
        let (number, unit) = split(text)
        let scales: [String: Double] = [
            "": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 1024, "mib": 1_048_576, "gib": 1_073_741_824,
            "tib": 1_099_511_627_776, "k": 1024, "m": 1_048_576, "g": 1_073_741_824,
        ]
        guard let value = Double(number), let scale = scales[unit.lowercased()], value >= 0, value * scale < 9e18 else {
            throw LorikeetError.input("'\(text)' is not a size", fix: "write it like 15GiB or 500MB")
        }
        return Int64(value * scale)
    }

    /// Three figures with a binary unit: `1.46 GiB`.
    package static func formatBytes(_ bytes: Int64) -> String {
        var value = Double(bytes)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if abs(value) < 1024 { return unit == "B" ? "\(bytes) B" : "\(figures(value)) \(unit)" }
            value /= 1024
        }
        return "\(figures(value)) TiB"
    }

    /// `9h`, `90m`, `1h30m`, `45s`, `1d`: seconds. Throws exit 2 naming what is expected.
    package static func parseSeconds(_ text: String) throws -> Double {
        let scales: [Character: Double] = ["d": 86_400, "h": 3600, "m": 60, "s": 1]
        var total = 0.0
        var number = ""
        var seen = false
        for character in text.lowercased() where character != " " {
            if let scale = scales[character] {
                guard let value = Double(number), value >= 0 else { throw notADuration(text) }
                total += value * scale
                number = ""
                seen = true
            } else {
                number.append(character)
            }
        }
        if !number.isEmpty {
            guard !seen, let value = Double(number), value >= 0, value <= longestSeconds else { throw notADuration(text) }
            return value
        }
        guard seen, total <= longestSeconds else { throw notADuration(text) }
        return total
    }

    /// Whole MiB, rounded up: an amount that is enough when it is typed as it is said.
    package static func enoughMebibytes(_ bytes: Int) -> String { "\(bytes.roundedUp(toMultipleOf: 1 << 20) >> 20)MiB" }

    /// A thousand years: no duration that is meant is longer, and counting it in whole seconds overflows nothing.
    private static let longestSeconds = 86_400 * 365_000.0

    /// `1 h 04 min`, `3 min 20 s`, `4.2 s`.
    package static func formatSeconds(_ seconds: Double) -> String {
        if !seconds.isFinite { return "?" }
        if seconds > longestSeconds { return "more than a thousand years" }
        if seconds < 10 { return "\((max(0, seconds) * 10).rounded() / 10) s" }
        let whole = Int(seconds.rounded())
        let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60)
        if hours > 0 { return "\(hours) h \(twoDigits(minutes)) min" }
        if minutes > 0 { return "\(minutes) min \(twoDigits(rest)) s" }
        return "\(whole) s"
    }

    private static func notADuration(_ text: String) -> LorikeetError {
        .input("'\(text)' is not a duration", fix: "write it like 9h, 90m or 1h30m")
    }

    private static func twoDigits(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }

    private static func figures(_ value: Double) -> String {
        let digits = abs(value) < 10 ? 100.0 : abs(value) < 100 ? 10.0 : 1.0
        let rounded = (value * digits).rounded() / digits
        return digits == 1 ? "\(Int(rounded))" : "\(rounded)"
    }

    private static func split(_ text: String) -> (number: String, unit: String) {
        let compact = text.filter { $0 != " " }
        let end = compact.firstIndex { !($0.isNumber || $0 == "." || $0 == "-") } ?? compact.endIndex
        return (String(compact[..<end]), String(compact[end...]))
    }
}
