import EmulatedDevice
import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles
import Testing

@testable import LorikeetChecks
@testable import LorikeetEngine

/// Whatever fails on a card, and wherever: everything that was allocated is freed, once.
struct DeviceMemoryTests {
    private let cpu = CPU(threads: 1)
    private let files: RandomModel
    private static let lora = LoRASettings(r: 4, alpha: 8, targetModules: ["q_proj", "v_proj"])

    init() throws {
        files = try RandomModel([
            ("hidden_size", 32), ("intermediate_size", 24), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("num_key_value_heads", 1),
            ("head_dim", 16), ("vocab_size", 29),
        ])
    }

    private static func batch(_ rows: Int) -> TokenBatch { TokenBatch(sequence: (0..<rows).map { Int32($0 * 7 % 29) }, weight: 0.01) }

    /// Loads a model, trains a step in a session whose arena grows on the way, looks at ranges, decodes, expands the weights and goes on.
    private func train(on device: FailingDevice) throws {
        let model = try Compute(cpu: cpu, device: device, element: .f16).model(files.source, storage: .nf4, lora: Self.lora, seed: 1)
        let session = try Session(model: model, maximumTokens: 32)
        _ = try session.accumulate(Self.batch(8), zeroFirst: true)
        _ = try session.optimiserStep(learningRate: 1e-3, optimiser: AdamWSettings())
        _ = try session.magnitudes(Self.batch(8))
        _ = try session.evaluate(Self.batch(70))
        _ = try session.generate(prompts: [[1, 2, 3], [4]], maxNewTokens: 2, endTokens: [])
        _ = try session.logits(Self.batch(5), rows: [4])
        try model.keepExpanded()
        _ = try session.profile(Self.batch(8))
        try session.pullAdapters()
    }

    /// A benchmark's model and products.
    private func measure(on device: FailingDevice) throws {
        let configuration = files.source.configuration
        let model = try Compute(cpu: cpu, device: device, element: .f16).randomModel(configuration, storage: .nf4, lora: Self.lora)
        _ = try Session(model: model, maximumTokens: 32)
        var rate = try DeviceGEMMRate(configuration: configuration, tokens: 4, device: device, element: .f16)
        try rate.measure()
    }

    /// The first kernel check of each kind.
    private var checks: [KernelCase] {
        var seen: Set<String> = []
        return KernelCase.all.filter { !$0.large && $0.elements.contains(.f16) && seen.insert($0.name).inserted }
    }

    private func fails(every stride: Int, _ call: FailingDevice.Call, _ work: (FailingDevice) throws -> Void) throws {
        let device = FailingDevice()
        device.begin()
        try work(device)
        let all = device.counts[call, default: 0]
        #expect(all > 0 && device.live.isEmpty && device.wrongFrees == 0)
        for number in Swift.stride(from: 1, through: all, by: stride) {
            device.begin(failing: (call, number))
            #expect(throws: LorikeetError.self, "\(call) \(number) of \(all)") { try work(device) }
            #expect(device.live.isEmpty && device.wrongFrees == 0, "\(call) \(number) of \(all): \(device.live.count) left, \(device.wrongFrees) freed wrongly")
        }
    }

    @Test func `every allocation of a training may fail`() throws { try fails(every: 1, .allocation, train) }
    @Test func `every allocation of a benchmark may fail`() throws { try fails(every: 1, .allocation, measure) }
    @Test func `other calls of a training may fail`() throws { try fails(every: 37, .other, train) }
    @Test func `other calls of a benchmark may fail`() throws { try fails(every: 37, .other, measure) }

    @Test func `every allocation of a kernel check may fail`() throws {
        #expect(checks.count > 15)
        for item in checks {
            try fails(every: 1, .allocation) { device in _ = try item.run(KernelComparison(device: device, cpu: cpu, element: .f16)) }
        }
    }

    @Test func `a session whose arena could not grow goes on where it fits`() throws {
        let device = FailingDevice()
        do {
            let model = try Compute(cpu: cpu, device: device, element: .f16).model(files.source, storage: .nf4, lora: Self.lora, seed: 1)
            let session = try Session(model: model, maximumTokens: 32)
            let before = try session.evaluate(Self.batch(20))
            device.begin(failing: (.allocation, 1))
            let failed = #expect(throws: LorikeetError.self) { _ = try session.evaluate(Self.batch(200)) }
            #expect(failed?.exit == .doesNotFit)
            // The old arena is gone; a smaller program gets one of its own.
            #expect(try session.evaluate(Self.batch(20)) == before)
            let larger = try session.evaluate(Self.batch(200))
            #expect(larger.count == 199 && larger.allSatisfy(\.isFinite))
            #expect(try session.evaluate(Self.batch(20)) == before)
        }
        #expect(device.live.isEmpty && device.wrongFrees == 0)
    }

    @Test func `weights that could not be expanded stay as they are stored`() throws {
        let device = FailingDevice()
        let model = try Compute(cpu: cpu, device: device, element: .f16).model(files.source, storage: .nf4, lora: nil)
        let session = try Session(model: model, sizes: SessionSizes(training: 0, evaluation: 32))
        let before = try session.evaluate(Self.batch(20))
        let weights = try #require(model.placed).weights
        func stored() -> Int { weights.matrices.values.count { if case .nf4 = $0.form { true } else { false } } }
        let all = stored()
        // The allocation, an expansion half way, the wait at the end.
        for failing in [(FailingDevice.Call.allocation, 1), (.other, 3), (.other, all + 1)] {
            let held = device.live.count
            device.begin(failing: failing)
            #expect(throws: LorikeetError.self) { try model.keepExpanded() }
            #expect(stored() == all && device.live.count == held && all > 8)
            #expect(try session.evaluate(Self.batch(20)) == before)
        }
        device.begin()
        try model.keepExpanded()
        #expect(stored() == 0)
        #expect(try session.evaluate(Self.batch(20)) == before)
    }
}
