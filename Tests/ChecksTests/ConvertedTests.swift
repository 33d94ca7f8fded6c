import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetJSON
import Testing

@testable import LorikeetChecks

/// GGUFs that llama.cpp's own converter made of small models (Tests/Reference/make_gguf.py).
struct ConvertedTests {
    static let root = ReferenceTests.root.appending(path: "Reference/small")

    static func folders(with file: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
        return names.sorted().filter { FileManager.default.fileExists(atPath: root.appending(path: "\($0)/\(file)").path) }
    }

    @Test(arguments: folders(with: "config.json")) func `a small model of each form of a family passes every tolerance`(name: String) throws {
        let report = try ReferenceCheck(directory: Self.root.appending(path: name).path, compute: Compute(cpu: CPU(threads: 2))).run()
        // These folders have neither optimiser steps nor the stored bytes of NF4, which are the same for every family.
        #expect(report.notTested.map(\.name) == ["NF4 storage", "AdamW and the loss after its steps"] && report.results.count > 20)
        for result in report.results { #expect(result.passes, "\(result.line)") }
    }

    @Test(arguments: folders(with: "model.gguf")) func `a converted model has the logits, losses and gradients of its directory`(name: String) throws {
        let folder = Self.root.appending(path: name).path
        let report = try ReferenceCheck(directory: folder, model: folder + "/model.gguf", compute: Compute(cpu: CPU(threads: 2))).run()
        #expect(report.results.count > 20)
        for result in report.results { #expect(result.passes, "\(result.line)") }
    }

    @Test(arguments: folders(with: "model.gguf")) func `the configuration of a converted model is that of its config json`(name: String) throws {
        let folder = Self.root.appending(path: name).path
        let (directory, converted) = (try ModelSource.open(folder), try ModelSource.open(folder + "/model.gguf"))
        #expect(converted.warnings.isEmpty, "\(converted.warnings)")
        var (wanted, found) = (directory.configuration.values, converted.configuration.values)
        for key in ["architectures", "attention_dropout"] { (wanted[key], found[key]) = (nil, nil) }
        if wanted["model_type"] == "mistral" {
            // The converter writes it as what it computes: a Llama, whose biases have keys.
            for key in ["model_type", "sliding_window", "attention_bias", "mlp_bias"] { (wanted[key], found[key]) = (nil, nil) }
        }
        for key in Set(wanted.keys + found.keys).sorted() {
            #expect(same(wanted[key], found[key]), "\(key): \(String(describing: wanted[key])) and \(String(describing: found[key]))")
        }
        // What merging writes is read again as the same.
        let written = try ModelConfiguration(json: converted.configuration.written(type: "float32"), source: "written")
        #expect(written.warnings.isEmpty, "\(written.warnings)")
        for entry in converted.configuration.values.entries { #expect(same(entry.value, written.values[entry.key]), "\(entry.key)") }
    }

    /// Equal, or numbers that float32 does not tell apart.
    private func same(_ a: JSON?, _ b: JSON?) -> Bool {
        if a == b { return true }
        if let a = a?.double, let b = b?.double { return Float(a) == Float(b) }
        guard let a = a?.array, let b = b?.array else { return false }
        return a.count == b.count && zip(a, b).allSatisfy { same($0, $1) }
    }
}
