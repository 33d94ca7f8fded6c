import Foundation
import Testing

/// The kernels' folder against the three lists that name its files.
struct KernelListTests {
    private static let folder = "Sources/CUDAKernels"

    private static func text(_ path: String) throws -> String { try String(contentsOf: LayoutTests.root.appending(path: path), encoding: .utf8) }

    /// What the capture of `pattern` matches in `text`, in order.
    private static func matches(_ pattern: String, in text: String) throws -> [String] {
        let expression = try NSRegularExpression(pattern: pattern)
        return expression.matches(in: text, range: NSRange(text.startIndex..., in: text)).compactMap {
            Range($0.range(at: 1), in: text).map { String(text[$0]) }
        }
    }

    /// The folder's `.cu` files, sorted.
    private static func kernels() throws -> [String] {
        let names = try FileManager.default.contentsOfDirectory(atPath: LayoutTests.root.appending(path: folder).path)
        return names.filter { $0.hasSuffix(".cu") }.sorted()
    }

    /// What every source may include.
    private static func headers() throws -> [String] {
        let names = try FileManager.default.contentsOfDirectory(atPath: LayoutTests.root.appending(path: folder).path)
        return names.filter { $0.hasSuffix(".cuh") }.sorted()
    }

    @Test func `every kernel source is embedded: Scripts/kernel_table.py writes the list`() throws {
        let kernels = try Self.kernels()
        let table = try Self.text(Self.folder + "/sources.c")
        #expect(kernels.count > 5)
        #expect(try Self.matches(#"#embed "([^"]+)""#, in: table) == Self.headers() + kernels)
        #expect(try Self.matches(#"\{"([^"]+)", \w+, sizeof \w+\}"#, in: table) == Self.headers() + kernels)
        // Name, text and length of an entry belong together.
        for name in try Self.matches(#"(\{"[^"]+", \w+, sizeof \w+\})"#, in: table) {
            let short = try #require(try Self.matches(#"^\{"(\w+)\."#, in: name).first)
            #expect(name.hasSuffix("\", \(short), sizeof \(short)}"), "\(name)")
        }
    }

    @Test func `every kernel source is excluded from the package's C build`() throws {
        let package = try Self.text("Package.swift")
        let target = try #require(package.range(of: #"path: "Sources/CUDAKernels""#))
        let list = try #require(package[target.upperBound...].split(separator: "]").first)
        #expect(try Self.matches(#""(\w+\.cuh?)""#, in: String(list)).sorted() == (try Self.kernels() + Self.headers()).sorted())
    }

    @Test func `every kernel source is built for the emulated card, in a namespace of its own`() throws {
        let list = try Self.text("Tests/KernelEmulator/all.h")
        let kernels = try Self.kernels()
        // Attention twice: with either body of its products.
        #expect(try Set(Self.matches(#"#include "\.\./\.\./Sources/CUDAKernels/(\w+\.cu)""#, in: list)) == Set(kernels))
        #expect(
            try Self.matches(#"namespace (\w+_cu) \{\n#include"#, in: list).sorted() == kernels.map { $0.replacingOccurrences(of: ".", with: "_") }.sorted())
    }
}
