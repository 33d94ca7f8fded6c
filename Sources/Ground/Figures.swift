/// Numbers as people read them on a terminal, a page and a model card. A value that is missing or not finite is `-`.
package enum Figures {
    /// Four significant digits: losses, logits, norms.
    package static func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "-" }
        return compact(value, digits: 4)
    }

    /// A loss, where one that is not finite is a result of its own.
    package static func loss(_ value: Double?) -> String {
        guard let value else { return "-" }
        return value.isFinite ? number(value) : "not a finite number"
    }

    /// A share from 0 to 1, with three significant digits: `85.8 %`.
    package static func percent(_ share: Double?) -> String {
        guard let share, share.isFinite else { return "-" }
        return share > 0 && share < 0.001 ? "< 0.1 %" : "\(compact(share * 100, digits: 3)) %"
    }

    /// Bytes with a binary unit; 0 counts as not measured.
    package static func bytes(_ bytes: Double?) -> String {
        guard let bytes, bytes.isFinite, bytes > 0, bytes < 1e18 else { return "-" }
        return Units.formatBytes(Int64(bytes))
    }

    package static func seconds(_ seconds: Double?) -> String { seconds.map { $0.isFinite ? Units.formatSeconds($0) : "-" } ?? "-" }

    /// 12345 as `12,345`.
    package static func count(_ value: Int) -> String {
        let digits = Array(String(value.magnitude))
        let grouped = digits.enumerated().map { index, digit in (index > 0 && (digits.count - index) % 3 == 0 ? "," : "") + String(digit) }.joined()
        return (value < 0 ? "-" : "") + grouped
    }

    /// The shortest text of a number rounded to `digits` significant digits; `null` where it is not finite, as JSON has it.
    package static func compact(_ value: Double, digits: Int) -> String {
        guard value.isFinite else { return "null" }
        if value == value.rounded(), abs(value) < 1e15 { return "\(Int(value))" }
        // Beyond these the powers of ten below would overflow, or lose digits.
        guard (1e-290..<1e290).contains(abs(value)) else { return "\(value)" }
        var (scale, size) = (1.0, abs(value))
        while size >= 10 { (size, scale) = (size / 10, scale / 10) }
        while size < 1 { (size, scale) = (size * 10, scale * 10) }
        var unit = 1.0
        for _ in 1..<digits { unit *= 10 }
        let rounded = (value * scale * unit).rounded() / unit / scale
        // Dividing may leave a tail such as 0.30000000000000004: a float of as many digits has none.
        let isFloat = digits <= 6 && (Float.leastNormalMagnitude..<Float.greatestFiniteMagnitude).contains(Float(abs(rounded)))
        let text = isFloat ? "\(Float(rounded))" : "\(rounded)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    /// A number with `decimals` decimals, zeros at the end included, so that a live number keeps its width.
    package static func fixed(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite, abs(value) < 1e12 else { return "\(value)" }
        let scale = (0..<decimals).reduce(1.0) { scale, _ in scale * 10 }
        let whole = Int((abs(value) * scale).rounded())
        let digits = (whole % Int(scale)).zeroPadded(to: decimals)
        return (value < 0 && whole > 0 ? "-" : "") + "\(whole / Int(scale))" + (decimals > 0 ? "." + digits : "")
    }

    /// Three significant digits, with an exponent where that is shorter: `3e-05`, `0.0016`, `65536`. For learning rates and loss scales.
    package static func scientific(_ value: Double) -> String {
        guard value.isFinite, value != 0 else { return "\(value == 0 ? "0" : "\(value)")" }
        if value == value.rounded(), abs(value) < 1e7 { return "\(Int(value))" }
        var (mantissa, exponent) = (abs(value), 0)
        while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
        while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
        mantissa = (mantissa * 100).rounded() / 100
        if mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
        func plain(_ text: String) -> String {
            var text = Substring(text)
            while text.contains("."), text.last == "0" || text.last == "." { text.removeLast() }
            return String(text)
        }
        let sign = value < 0 ? "-" : ""
        if (-4..<6).contains(exponent) { return sign + plain(fixed(abs(value), max(0, 2 - exponent))) }
        return sign + plain(fixed(mantissa, 2)) + "e\(exponent < 0 ? "-" : "+")" + abs(exponent).zeroPadded(to: 2)
    }
}

extension Int {
    /// Rounded; the nearest representable number where there is none, and 0 for NaN.
    package init(clamping value: Double) { self = value.isNaN ? 0 : Int(exactly: value.rounded()) ?? (value < 0 ? .min : .max) }
}
