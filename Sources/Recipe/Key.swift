import LorikeetGround

/// What a key's value may be.
package enum KeyType: Sendable, Equatable {
    case string
    case path
    case flag
    /// A whole number in a range.
    case integer(ClosedRange<Int>)
    /// A number in a range.
    case number(ClosedRange<Double>)
    case choice([String])
    /// A list of names: a YAML list, or text with commas.
    case list
    /// Files, folders or patterns: a YAML list, the option given several times, or text with commas.
    case paths
    /// Names given to names: a YAML mapping, or text such as `instruction=q,output=a`.
    case pairs
    /// `15GiB`.
    case bytes
    /// `9h`.
    case duration
    /// `18:30`.
    case timeOfDay
    /// `auto`, `cpu`, `cuda` or `cuda:1`.
    case device

    /// What the documentation calls it.
    package var name: String {
        switch self {
        case .string: "text"
        case .path: "path"
        case .flag: "true or false"
        case .integer: "whole number"
        case .number: "number"
        case .choice(let names): names.joined(separator: ", ")
        case .list: "list"
        case .paths: "paths"
        case .pairs: "name=name list"
        case .bytes: "size"
        case .duration: "duration"
        case .timeOfDay: "time of day"
        case .device: "auto, cpu, cuda, cuda:N"
        }
    }
}

/// A value as the recipe holds it.
package enum KeyValue: Sendable, Equatable {
    case none
    case text(String)
    case flag(Bool)
    case integer(Int)
    case number(Double)
    case list([String])

    /// As YAML writes it, and as an option would say it.
    package var yaml: String {
        switch self {
        case .none: "null"
        case .text(let text): Self.quoted(text)
        case .flag(let value): value ? "true" : "false"
        case .integer(let value): "\(value)"
        case .number(let value): value == value.rounded() && abs(value) < 1e15 ? "\(Int(value)).0" : "\(value)"
        case .list(let names): "[" + names.map(Self.quoted).joined(separator: ", ") + "]"
        }
    }

    /// Plain where YAML reads it back as the same text.
    private static func quoted(_ text: String) -> String {
        let plain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_-./".contains($0)) }
        let words: Set<String> = ["true", "false", "null", "yes", "no", "on", "off", "none", "~", ""]
        if plain, !words.contains(text.lowercased()), text.first?.isLetter == true || text.first == "/" || text.first == "." && text.count > 1,
            Double(text) == nil
        {
            return text
        }
        let escaped = text.unicodeScalars.map { scalar -> String in
            switch scalar {
            case "\"": "\\\""
            case "\\": "\\\\"
            case "\n": "\\n"
            case "\t": "\\t"
            // YAML refuses control characters that stand for themselves.
            case _ where scalar.isUnprintable: "\\U" + String(String(0x1_0000_0000 + Int(scalar.value), radix: 16).dropFirst())
            default: String(scalar)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}

/// What happens when a run is resumed with another value of a key.
package enum KeyRole: Sendable, Equatable {
    /// Refused: the key decides the training, so another value is another run.
    case identity
    /// Allowed where the content of the inputs is the same: the key says where an input stands.
    case input
    /// Allowed: the trained adapter is delivered in another way, and what is made of it is made again.
    case delivery
    /// Allowed: output, time limits and messages do not affect the result.
    case changeable
    /// Allowed with a warning: the result is equivalent, but not bit-identical to an uninterrupted run's.
    case affectsBits
}

/// One row of the table of keys.
package struct Key: Sendable {
    /// As in `run.yaml`; `lora.r` stands under `lora:`.
    package let name: String
    package let type: KeyType
    package let standard: KeyValue
    /// By preset, where it differs from `standard`.
    package let presets: [String: KeyValue]
    package let role: KeyRole
    /// One sentence.
    package let help: String

    init(_ name: String, _ type: KeyType, _ standard: KeyValue, _ role: KeyRole = .identity, _ presets: [String: KeyValue] = [:], help: String) {
        self.name = name
        self.type = type
        self.standard = standard
        self.presets = presets
        self.role = role
        self.help = help
    }

    /// `--lora-r`, `--target-modules`, `--max-length`.
    package var option: String {
        let short = ["lora.r": "lora-r", "lora.target_modules": "target-modules"]
        if let option = short[name] { return option }
        let last = name.split(separator: ".").last.map(String.init) ?? name
        return String(last.map { $0 == "_" ? "-" : $0 })
    }
}
