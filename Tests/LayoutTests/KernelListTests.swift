import Foundation
import Testing

/// The kernels' folder against the two lists that Scripts/kernel_table.py writes of it.
struct KernelListTests {
    private static let folder = "Sources/CUDAKernels/kernels"

    private static func text(_ path: String) throws -> String { try String(contentsOf: LayoutTests.root.appending(path: path), encoding: .utf8) }

    /// What the capture of `pattern` matches in `text`, in order.
    private static func matches(_ pattern: String, in text: String) throws -> [String] {
        let expression = try NSRegularExpression(pattern: pattern)
        return expression.matches(in: text, range: NSRange(text.startIndex..., in: text)).compactMap {
            Range($0.range(at: 1), in: text).map { String(text[$0]) }
        }
    }

    /// The folder's files that end so, sorted: `.cuh` may be included by every source, `.cu` is compiled.
    private static func files(_ suffix: String) throws -> [String] {
        let names = try FileManager.default.contentsOfDirectory(atPath: LayoutTests.root.appending(path: folder).path)
        return names.filter { $0.hasSuffix(suffix) }.sorted()
    }

    private static func identifier(_ name: String) -> String { name.replacingOccurrences(of: ".", with: "_") }

    @Test func `the folder holds kernels and headers, nothing else`() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: LayoutTests.root.appending(path: Self.folder).path)
        #expect(names.count > 15 && names.allSatisfy { $0.hasSuffix(".cu") || $0.hasSuffix(".cuh") }, "\(names)")
        // And no kernel stands beside it.
        let beside = try FileManager.default.contentsOfDirectory(atPath: LayoutTests.root.appending(path: "Sources/CUDAKernels").path)
        #expect(beside.sorted() == ["include", "kernels", "sources.c"])
    }

    @Test func `every kernel source is embedded under its name`() throws {
        let table = try Self.text("Sources/CUDAKernels/sources.c")
        let files = try Self.files(".cuh") + Self.files(".cu")
        #expect(try Self.matches(#"#embed "kernels/([^"]+)""#, in: table) == files)
        // Name, text and length of an entry belong together.
        for file in files {
            let name = Self.identifier(file)
            #expect(table.contains("static const unsigned char \(name)[] = {\n#embed \"kernels/\(file)\"\n};\n"), "\(file)")
            #expect(table.contains("    {\"\(file)\", \(name), sizeof \(name)},\n"), "\(file)")
        }
        #expect(try Self.matches(#"\{"([^"]+)", \w+, sizeof \w+\}"#, in: table) == files)
    }

    @Test func `every kernel source is built for the emulated card, in a namespace of its own`() throws {
        let list = try Self.text("Tests/KernelEmulator/sources.h")
        func included(_ name: String, _ suffix: String) -> String {
            "namespace \(Self.identifier(name))\(suffix) {\n#include \"../../\(Self.folder)/\(name)\"\n}\n"
        }
        // Once each; with the products of a warpgroup and with the tiles of 7.5 once more each, where there are such products.
        let tiled = try Self.files(".cu").filter { try Self.text(Self.folder + "/" + $0).contains(#"#include "tiles.cuh""#) }
        #expect(!tiled.isEmpty)
        for name in try Self.files(".cu") { #expect(list.contains(included(name, "")), "\(name)") }
        for suffix in ["_hopper", "_turing"] { for name in tiled { #expect(list.contains(included(name, suffix)), "\(name)") } }
        let expected = try Self.files(".cuh") + Self.files(".cu") + tiled + tiled
        #expect(try Self.matches(#"#include "\.\./\.\./Sources/CUDAKernels/kernels/(\w+\.cuh?)""#, in: list) == expected)
    }
}
