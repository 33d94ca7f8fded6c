import Foundation
import LorikeetJSON
import Testing

@testable import LorikeetTokenizers

/// The files beside the tests.
enum Fixture {
    static func text(_ path: String) throws -> String {
        let root = try #require(Bundle.module.resourceURL)
        return String(decoding: try Data(contentsOf: root.appending(path: "Fixtures/\(path)")), as: UTF8.self)
    }

    static func json(_ path: String) throws -> JSON { try JSON.parse(text(path), source: path) }

    /// A JSON file as a template's value, its keys in order.
    static func value(_ path: String) throws -> TemplateValue {
        TemplateValue(try json(path))
    }
}

extension TemplateValue {
    subscript(key: String) -> TemplateValue? { if case .mapping(let mapping) = self { mapping[key] } else { nil } }
    var items: [TemplateValue] { if case .list(let list) = self { list.values } else { [] } }
    var fields: [(key: String, value: TemplateValue)] { if case .mapping(let mapping) = self { mapping.entries.map { ($0.key.text, $0.value) } } else { [] } }
    var ids: [Int32] { items.compactMap { $0.asInteger.map(Int32.init) } }
}
