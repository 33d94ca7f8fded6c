import Foundation
import Testing

/// The list of what is linked (Scripts/sbom.py) against what Package.swift links.
struct SupplyTests {
    @Test func `every library and package of Package.swift is in the list of what is linked`() throws {
        func text(_ path: String) throws -> String { try String(contentsOf: LayoutTests.root.appending(path: path), encoding: .utf8) }
        let (package, list) = try (text("Package.swift"), text("Scripts/sbom.py"))
        let libraries = package.matches(of: #/\.linkedLibrary\(":([^"]+)"\)/#).map { String($0.1) }
        let packages = package.matches(of: #/\.package\(url: "([^"]+)"/#).map { String($0.1.split(separator: "/").last ?? "").lowercased() }
        #expect(libraries.count >= 4 && packages.count >= 2)
        for name in libraries + packages { #expect(list.contains("\"\(name)\""), "\(name)") }
        // A licence text that is kept here is one of a component, and the other way.
        let kept = try FileManager.default.contentsOfDirectory(atPath: LayoutTests.root.appending(path: "packaging/licences").path)
        #expect(Set(kept) == Set(list.matches(of: #/packaging\/licences\/([A-Za-z]+\.txt)/#).map { String($0.1) }))
    }

    @Test func `README links to SECURITY`() throws {
        let readme = try String(contentsOf: LayoutTests.root.appending(path: "README.md"), encoding: .utf8)
        #expect(readme.contains("](SECURITY.md)"))
    }
}
