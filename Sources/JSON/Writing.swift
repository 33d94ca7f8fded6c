import LorikeetGround

extension JSON {
    /// The value as text: on one line, or indented by two spaces. Doubles are the shortest that read back the same;
    /// what JSON has no number for (NaN, infinities) becomes null.
    package func serialized(pretty: Bool = false) -> String {
        var out: [UInt8] = []
        write(into: &out, indent: pretty ? 0 : nil)
        return String(decoding: out, as: UTF8.self)
    }

    private func write(into out: inout [UInt8], indent: Int?) {
        switch self {
        case .null: out += "null".utf8
        case .bool(let value): out += (value ? "true" : "false").utf8
        case .integer(let value): out += "\(value)".utf8
        case .number(let value): out += (value.isFinite ? "\(value)" : "null").utf8
        case .string(let value): Self.write(value, into: &out)
        case .array(let elements):
            // Short rows of scalars stay on one line.
            let flat = elements.allSatisfy { $0.array == nil && $0.object == nil }
            Self.writeList(elements, open: "[", close: "]", into: &out, indent: flat ? nil : indent) { $1.write(into: &$0, indent: $2) }
        case .object(let object):
            Self.writeList(object.entries, open: "{", close: "}", into: &out, indent: indent) {
                Self.write($1.key, into: &$0)
                $0 += (indent == nil ? ":" : ": ").utf8
                $1.value.write(into: &$0, indent: $2)
            }
        }
    }

    private static func writeList<Element>(
        _ elements: [Element], open: String, close: String, into out: inout [UInt8], indent: Int?,
        _ body: (inout [UInt8], Element, Int?) -> Void
    ) {
        out += open.utf8
        for (index, element) in elements.enumerated() {
            if index > 0 { out += ",".utf8 }
            if let indent { out += ("\n" + String(repeating: " ", count: indent + 2)).utf8 }
            body(&out, element, indent.map { $0 + 2 })
        }
        if let indent, !elements.isEmpty { out += ("\n" + String(repeating: " ", count: indent)).utf8 }
        out += close.utf8
    }

    /// Unprintable characters beyond those that JSON itself asks for are escaped too: JSON is printed on terminals.
    private static func write(_ text: String, into out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\"".utf8
            case "\\": out += "\\\\".utf8
            case "\n": out += "\\n".utf8
            case "\r": out += "\\r".utf8
            case "\t": out += "\\t".utf8
            case _ where scalar.isUnprintable: for unit in UTF16.encode(scalar) ?? .init() { writeEscape(unit, into: &out) }
            default: out += UTF8.encode(scalar) ?? .init()
            }
        }
        out.append(UInt8(ascii: "\""))
    }

    private static func writeEscape(_ unit: UInt16, into out: inout [UInt8]) {
        let hex = Array("0123456789abcdef".utf8)
        out += "\\u".utf8
        for shift in [12, 8, 4, 0] { out.append(hex[Int(unit >> UInt16(shift) & 15)]) }
    }
}
