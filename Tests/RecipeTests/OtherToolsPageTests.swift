import Foundation
import LorikeetGround
import Testing

@testable import LorikeetRecipe

/// docs/coming-from-other-tools.md against the tables that the program reads.
struct OtherToolsPageTests {
    private struct Row {
        let name: String
        let meaning: String
    }

    private static func rows() throws -> [Row] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/coming-from-other-tools.md"), encoding: .utf8)
        return text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
            return Row(name: cells[1].replacingOccurrences(of: "`", with: ""), meaning: cells[2])
        }
    }

    /// The keys that a cell such as "`data` and `format`" names.
    private func keys(_ cell: String) -> [String] {
        cell.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    @Test func `every row says what the program does with the name`() throws {
        let rows = try Self.rows()
        #expect(rows.count > 90)
        for row in rows {
            switch row.meaning {
            case "=": #expect(KeyTable.key(named: row.name) != nil, "\(row.name)")
            case "no effect": #expect(OtherTools.ignored[row.name] != nil, "\(row.name)")
            case "refused": #expect(OtherTools.refused.contains(row.name), "\(row.name)")
            case _ where row.meaning.hasPrefix("see"): #expect(OtherTools.knows(row.name) || KeyTable.key(named: row.name) != nil, "\(row.name)")
            default:
                let named = keys(row.meaning)
                #expect(!named.isEmpty && named.allSatisfy { KeyTable.key(named: $0) != nil }, "\(row.name): \(row.meaning)")
                #expect(readAs(row.name) == Set(named), "\(row.name): \(row.meaning)")
            }
        }
    }

    /// The keys that some value of the name is read as.
    private func readAs(_ name: String) -> Set<String> {
        var found: Set<String> = []
        for value in ["0.1", "true", "no", "a.jsonl", "all"] {
            if case .keys(let keys) = OtherTools.meaning(of: name, value) { found.formUnion(keys.map(\.key)) }
        }
        // A list of data sets is read by the file's reader, not by the table of names.
        return name == "datasets" ? ["data", "format"] : found
    }
}
