import Foundation
import Testing

/// docs/messages.md against the sources.
struct MessagesPageTests {
    @Test func `every message on the page stands in the sources`() throws {
        let page = try String(contentsOf: LayoutTests.root.appending(path: "docs/messages.md"), encoding: .utf8)
        // A literal that is continued on the next line is joined first.
        let sources = try LayoutTests.files(in: "Sources").map(\.text).joined(separator: "\n")
            .replacing(#/"\s*\n\s*\+ \$?"/#, with: "")
        let rows = page.split(separator: "\n").filter { $0.hasPrefix("| `") }
        #expect(rows.count > 25)
        for row in rows {
            let cell = row.dropFirst(3).prefix { $0 != "`" }
            for part in cell.components(separatedBy: "…").map({ $0.trimmingCharacters(in: .whitespaces) }) where !part.isEmpty {
                #expect(sources.contains(part), "\(part)")
            }
        }
    }
}

/// Links between the documents.
struct DocumentLinkTests {
    @Test func `every link to a file of the repository leads to one`() throws {
        let documents = try ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map {
            ($0, try String(contentsOf: LayoutTests.root.appending(path: $0), encoding: .utf8))
        }
        for (path, text) in try documents + LayoutTests.files(in: "docs", ending: ".md") {
            let folder = LayoutTests.root.appending(path: path).deletingLastPathComponent()
            for match in text.matches(of: #/\]\(([^)#\s]+)[^)]*\)/#) where !match.1.contains("://") && !match.1.hasPrefix("mailto:") {
                #expect(FileManager.default.fileExists(atPath: folder.appending(path: String(match.1)).path), "\(path): \(match.1)")
            }
        }
    }
}
