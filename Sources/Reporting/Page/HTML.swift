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
