import Foundation
import Testing

@testable import LorikeetGround

struct FiguresTests {
    @Test func `numbers have as many digits as their kind`() {
        let cases: [(Double, Int, String)] = [
            (0, 4, "0"), (0.1 + 0.2, 4, "0.3"), (1234.5678, 4, "1235"), (3.076923e-05, 4, "3.077e-05"), (1e20, 4, "1e+20"), (12, 4, "12"),
            (39.35512, 4, "39.36"), (0.0000123456, 3, "1.23e-05"), (1234.5678, 6, "1234.57"), (-0.5, 2, "-0.5"),
        ]
        // JSON has no infinities and no NaN, and a chart's values are JSON.
        for value in [1e308, -1e308, 3.5e38, 1e39, -7e200, .leastNonzeroMagnitude, Double(bitPattern: 2024), 4e-45, .greatestFiniteMagnitude] {
            for digits in [3, 6, 9] {
                let shown = Double(Figures.compact(value, digits: digits)) ?? .nan
                #expect(abs(shown - value) <= abs(value) * 0.01, "\(value)")
            }
        }
        for (value, digits, text) in cases { #expect(Figures.compact(value, digits: digits) == text) }
        #expect(Figures.number(0.23991) == "0.2399" && Figures.number(7.7980001) == "7.798" && Figures.number(nil) == "-" && Figures.number(.infinity) == "-")
        #expect(Figures.loss(.nan) == "not a finite number" && Figures.loss(nil) == "-" && Figures.loss(2) == "2")
        #expect(Figures.percent(0.0004) == "< 0.1 %" && Figures.percent(.nan) == "-" && Figures.percent(0.8583) == "85.8 %" && Figures.percent(1) == "100 %")
        #expect(Figures.count(1_234_567) == "1,234,567" && Figures.count(-1000) == "-1,000" && Figures.count(12) == "12")
        #expect(Figures.bytes(1_572_864) == "1.5 MiB" && Figures.bytes(0) == "-" && Figures.bytes(nil) == "-")
        #expect(Figures.seconds(200) == "3 min 20 s" && Figures.seconds(.nan) == "-" && Figures.seconds(nil) == "-")
        #expect(Figures.fixed(0.1, 2) == "0.10" && Figures.fixed(2, 2) == "2.00" && Figures.fixed(-0.006, 2) == "-0.01" && Figures.fixed(1.5, 0) == "2")
        #expect(Figures.scientific(3e-5) == "3e-05" && Figures.scientific(0.0016) == "0.0016" && Figures.scientific(2.9876e-7) == "2.99e-07")
        #expect(Figures.scientific(65536) == "65536" && Figures.scientific(0) == "0" && Figures.scientific(9.999e-8) == "1e-07")
        #expect(Int(clamping: 1e300) == .max && Int(clamping: -.infinity) == .min && Int(clamping: .nan) == 0 && Int(clamping: 2.5) == 3)
    }

    @Test func `the bytes of a folder are those of its files, without what links lead to`() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: root) }
        let files = RealFiles()
        try files.createDirectory(root + "/a/b")
        try files.writeDurably([UInt8](repeating: 1, count: 10), to: root + "/x")
        try files.writeDurably([UInt8](repeating: 1, count: 5), to: root + "/a/b/y")
        try FileManager.default.createSymbolicLink(atPath: root + "/a/link", withDestinationPath: root)
        #expect(files.bytes(under: root) == 15 && files.bytes(under: root + "/a") == 5)
        #expect(files.bytes(under: root + "/none") == 0 && files.bytes(under: root + "/a/link") == 0)
    }
}
