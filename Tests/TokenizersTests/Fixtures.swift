import Foundation
import Testing

@testable import LorikeetTokenizers

/// The files beside the tests.
enum Fixture {
    static func text(_ path: String) throws -> String {
        let root = try #require(Bundle.module.resourceURL)
        return String(decoding: try Data(contentsOf: root.appending(path: "Fixtures/\(path)")), as: UTF8.self)
    }

    /// A JSON file as a template's value, its keys in order.
    static func value(_ path: String) throws -> TemplateValue {
        var reader = FixtureReader(bytes: Array(try text(path).utf8))
        return try reader.value()
    }
}

extension TemplateValue {
    subscript(key: String) -> TemplateValue? { if case .mapping(let mapping) = self { mapping[key] } else { nil } }
    var items: [TemplateValue] { if case .list(let values) = self { values } else { [] } }
    var fields: [(key: String, value: TemplateValue)] { if case .mapping(let mapping) = self { mapping.entries } else { [] } }
    var ids: [Int32] { items.compactMap { $0.asInteger.map(Int32.init) } }
}

/// Reads well-formed JSON that keeps to what the generators write.
struct FixtureReader {
    let bytes: [UInt8]
    var at = 0

    struct Malformed: Error { let at: Int }

    private mutating func skipSpace() { while at < bytes.count, bytes[at] <= 0x20 { at += 1 } }

    private mutating func take(_ byte: Character) -> Bool {
        skipSpace()
        guard at < bytes.count, bytes[at] == byte.asciiValue else { return false }
        at += 1
        return true
    }

    mutating func value() throws -> TemplateValue {
        if take("{") {
            var mapping: [(String, TemplateValue)] = []
            while !take("}") {
                guard case .string(let key) = try value(), take(":") else { throw Malformed(at: at) }
                mapping.append((key, try value()))
                _ = take(",")
            }
            return .mapping(TemplateMapping(unchecked: mapping))
        }
        if take("[") {
            var list: [TemplateValue] = []
            while !take("]") {
                list.append(try value())
                _ = take(",")
            }
            return .list(list)
        }
        if take("\"") { return .string(try string()) }
        let word = String(decoding: bytes[at...].prefix { !" ,]}\n".utf8.contains($0) }, as: UTF8.self)
        at += word.utf8.count
        switch word {
        case "null": return .none
        case "true", "false": return .bool(word == "true")
        default:
            if let integer = Int(word) { return .integer(integer) }
            guard let number = Double(word) else { throw Malformed(at: at) }
            return .number(number)
        }
    }

    private mutating func string() throws -> String {
        var content: [UInt8] = []
        while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
            if bytes[at] == UInt8(ascii: "\\") {
                at += 1
                switch bytes[at] {
                case UInt8(ascii: "n"): content.append(0x0A)
                case UInt8(ascii: "t"): content.append(0x09)
                case UInt8(ascii: "r"): content.append(0x0D)
                case UInt8(ascii: "b"): content.append(0x08)
                case UInt8(ascii: "f"): content.append(0x0C)
                case UInt8(ascii: "u"):
                    guard let code = UInt32(String(decoding: bytes[(at + 1)...(at + 4)], as: UTF8.self), radix: 16),
                        let scalar = Unicode.Scalar(code)
                    else { throw Malformed(at: at) }
                    content += Array(String(scalar).utf8)
                    at += 4
                default: content.append(bytes[at])
                }
                at += 1
            } else {
                content.append(bytes[at])
                at += 1
            }
        }
        at += 1
        return String(decoding: content, as: UTF8.self)
    }
}
