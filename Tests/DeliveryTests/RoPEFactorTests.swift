import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import LorikeetJSON
import LorikeetModelFiles
import Testing

@testable import LorikeetDelivery

/// A GGUF whose rotary frequencies are divided by a tensor, as Llama 3.1 to 3.3 have it; numbers of Tests/Reference/make_rope_factors.py.
struct RoPEFactorTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(
        path: "Reference/rope_factors")
    private static let gguf = folder.appending(path: "model.gguf").path
    private let expected: JSON
    private let cpu = CPU(threads: 2)

    /// float32 against float64 over 300 tokens; with the factors left out the loss is 5.5e-3 away.
    private static let tolerance = 1e-5

    init() throws { expected = try JSON.parse(RealFiles().read(Self.folder.appending(path: "expected.json").path), source: "expected.json") }

    private func loss(_ path: String) throws -> Double {
        let model = try Compute(cpu: cpu).model(ModelSource.open(path), storage: .stored, lora: nil)
        let ids = (expected["ids"]?.array ?? []).compactMap { $0.int.map(Int32.init) }
        let logs = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: ids.count)).evaluate(TokenBatch(sequence: ids))
        #expect(logs.count == 299)
        return -logs.reduce(0) { $0 + Double($1) } / Double(logs.count)
    }

    @Test func `the frequencies are divided by the factors`() throws {
        let wanted = try #require(expected["loss"]?.double)
        #expect(abs(try loss(Self.gguf) - wanted) < Self.tolerance)
        #expect(abs(wanted - (expected["loss_without_factors"]?.double ?? wanted)) > 100 * Self.tolerance)
    }

    @Test func `the merged directory says the scaling and has the same loss`() throws {
        let base = try ModelSource.open(Self.gguf)
        #expect(base.configuration.json["rope_scaling"] == expected["rope_scaling"])
        // An adapter that adds nothing: B is zero.
        let (adapter, merged) = (Temporary.folder(), Temporary.folder())
        let lora = LoRASettings(r: 2, alpha: 4, targetModules: ["q_proj"])
        let set = try TrainedSet(layout: TrainedLayout(lora, weights: base.configuration.family.weights()))
        set.initialise(seed: 1)
        let values = UnsafeBufferPointer(set.floats(.values))
        try AdapterFile.write(
            directory: adapter, configuration: AdapterConfiguration(r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"]),
            tensors: set.tensors.map { ($0.name, $0.shape, UnsafeBufferPointer(rebasing: values[$0.range])) },
            files: RealFiles())
        try Merger(
            base: base, adapter: AdapterFile.read(directory: adapter), settings: MergeSettings(type: .f32), files: RealFiles(), cpu: cpu
        ).write(to: merged)
        let written = try JSON.parse(RealFiles().read(merged + "/config.json"), source: "config.json")
        #expect(written["rope_scaling"] == expected["rope_scaling"])
        #expect(try loss(merged) == loss(Self.gguf))
    }
}

/// Folders of tests.
enum Temporary {
    static func folder() -> String { FileManager.default.temporaryDirectory.appending(path: "lorikeet-" + UUID().uuidString).path }
}
