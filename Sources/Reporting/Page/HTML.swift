import LorikeetGround

/// HTML text. What is interpolated as text is escaped, so a page cannot contain markup that came from a file.
package struct HTML: Sendable, ExpressibleByStringInterpolation {
    package private(set) var text: String

    package init(stringLiteral value: StaticString) { text = "\(value)" }
    package init(stringInterpolation: StringInterpolation) { text = stringInterpolation.text }
    private init(markup: String) { text = markup }

    /// Markup that this program wrote itself.
    static func trusted(_ markup: String) -> HTML { HTML(markup: markup) }

    package struct StringInterpolation: StringInterpolationProtocol {
        var text = ""

        package init(literalCapacity: Int, interpolationCount: Int) { text.reserveCapacity(literalCapacity + 16 * interpolationCount) }
        package mutating func appendLiteral(_ literal: StaticString) { text += "\(literal)" }
        package mutating func appendInterpolation(_ value: String) { text += HTML.escaped(value) }
        package mutating func appendInterpolation(_ value: Int) { text += "\(value)" }
        package mutating func appendInterpolation(_ value: HTML) { text += value.text }
        package mutating func appendInterpolation(_ values: [HTML]) { for value in values { text += value.text } }
    }

    static func + (a: HTML, b: HTML) -> HTML { HTML(markup: a.text + b.text) }
    static func += (a: inout HTML, b: HTML) { a.text += b.text }

    /// Text between tags and in quoted attributes. Characters that show nothing or turn the direction of text stand as escapes.
    static func escaped(_ text: String) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        for byte in text.printable().utf8 {
            switch byte {
            case UInt8(ascii: "&"): bytes += "&amp;".utf8
            case UInt8(ascii: "<"): bytes += "&lt;".utf8
            case UInt8(ascii: ">"): bytes += "&gt;".utf8
            case UInt8(ascii: "\""): bytes += "&quot;".utf8
            case UInt8(ascii: "'"): bytes += "&#39;".utf8
            default: bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// JSON for a `script` element that is not run: no `<` is left that could end it.
    static func data(_ json: JSONText) -> HTML {
        HTML(markup: json.text.split(separator: "<", omittingEmptySubsequences: false).joined(separator: "\\u003c"))
    }

    /// JSON that has been serialised.
    struct JSONText { let text: String }

    /// A table; `numbers` are the columns that are aligned to the right. A `wide` one is scrolled on a phone.
    static func table(_ head: [HTML], _ rows: [[HTML]], numbers: Set<Int> = [], wide: Bool = false) -> HTML {
        func cells(_ tag: String, _ row: [HTML]) -> HTML {
            .trusted(row.enumerated().map { "<\(tag)\(numbers.contains($0) ? " class=\"n\"" : "")>\($1.text)</\(tag)>" }.joined())
        }
        let header: HTML = head.isEmpty ? "" : "<thead><tr>\(cells("th", head))</tr></thead>"
        return "<table\(wide ? " class=\"wide\"" as HTML : "")>\(header)<tbody>\(rows.map { "<tr>\(cells("td", $0))</tr>" as HTML })</tbody></table>"
    }

    static func card(_ content: HTML) -> HTML { "<div class=\"card\">\(content)</div>\n" }
    static func section(_ title: String, _ content: HTML) -> HTML { "<section><h2>\(title)</h2>\n\(content)</section>\n" }
}

/// Numbers as the page writes them.
enum Figures {
    /// Four significant digits.
    static func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "-" }
        return compact(value, digits: 4)
    }

    static func percent(_ share: Double?) -> String {
        guard let share, share.isFinite else { return "-" }
        return share > 0 && share < 0.001 ? "< 0.1 %" : "\(compact(share * 100, digits: 3)) %"
    }
    static func bytes(_ bytes: Double?) -> String {
        guard let bytes, bytes.isFinite, bytes > 0, bytes < 1e18 else { return "-" }
        return Units.formatBytes(Int64(bytes))
    }
    static func seconds(_ seconds: Double?) -> String { seconds.map { $0.isFinite ? Units.formatSeconds($0) : "-" } ?? "-" }

    /// 12345 as 12,345.
    static func count(_ value: Int) -> String {
        let digits = Array(String(value.magnitude))
        let grouped = digits.enumerated().map { index, digit in (index > 0 && (digits.count - index) % 3 == 0 ? "," : "") + String(digit) }.joined()
        return (value < 0 ? "-" : "") + grouped
    }

    /// The shortest text of a number rounded to `digits` significant digits; `null` where it is not finite.
    static func compact(_ value: Double, digits: Int) -> String {
        guard value.isFinite else { return "null" }
        if value == value.rounded(), abs(value) < 1e15 { return "\(Int(value))" }
        var (scale, size) = (1.0, abs(value))
        while size >= 10 { (size, scale) = (size / 10, scale / 10) }
        while size < 1 { (size, scale) = (size * 10, scale * 10) }
        var unit = 1.0
        for _ in 1..<digits { unit *= 10 }
        let rounded = (value * scale * unit).rounded() / unit / scale
        // Dividing may leave a tail such as 0.30000000000000004: a float of as many digits has none.
        let text = digits <= 6 ? "\(Float(rounded))" : "\(rounded)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}
