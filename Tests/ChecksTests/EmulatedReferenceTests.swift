import LorikeetGround
import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetEngine
import LorikeetModelFiles
import Testing

@testable import LorikeetChecks

/// The GPU's programs and kernels, run on the CPU, against the numbers of the Hugging Face stack.
struct EmulatedReferenceTests {
    @Test(arguments: ReferenceTests.families, DeviceElement.allCases) func `a tiny model of each family on an emulated card passes every tolerance`(
        family: String, element: DeviceElement
    ) throws {
        let device = EmulatedDevice()
        let compute = Compute(cpu: CPU(threads: 2), device: device, element: element)
        let report = try ReferenceCheck(directory: ReferenceTests.root.appending(path: "Reference/\(family)").path, compute: compute).run()
        #expect(report.results.count > 80 && report.notTested.isEmpty)
        for result in report.results { #expect(result.passes, "\(result.line)") }
        #expect(device.launched["rmsnorm_backward_" + element.suffix] != nil)
    }

    /// One of each combination of ops: windows and two rotations, LongRoPE's second table, layers without rotation, factors of the stream and
    /// the logits, blocks that read the stream without a norm, pairs of neighbours, queries by position.
    private static let forms = ["gemma3_text", "phi3_long", "smollm3_layers", "granite", "olmo3", "glm4", "ministral3", "qwen2_windows"]

    /// `gemma3_text` of six layers and a width of 32 has single matrices 0.0026 off in bfloat16, where 0.002 is the limit for models of 64; its
    /// larger dump is held to that limit on a card.
    private static let cases = forms.flatMap { name in
        DeviceElement.allCases.filter { !(name == "gemma3_text" && $0 == .bf16) }.map { (name, $0) }
    }

    @Test(arguments: cases) func `a small model of each form of a family on an emulated card passes every tolerance`(
        name: String, element: DeviceElement
    ) throws {
        let compute = Compute(cpu: CPU(threads: 2), device: EmulatedDevice(), element: element)
        let report = try ReferenceCheck(directory: ConvertedTests.root.appending(path: name).path, compute: compute).run()
        #expect(report.results.count > 20)
        for result in report.results { #expect(result.passes, "\(result.line)") }
    }

    @Test(arguments: DeviceElement.allCases) func `gradients on a card are the processor's, and another model's are not`(element: DeviceElement) throws {
        let path = ReferenceTests.root.appending(path: "Reference/llama").path
        let source = try ModelSource.open(path)
        let texts = [4, 1, 37, 0, 20].map { length in (0..<length).map { Int32(mix64(UInt64($0 + length)) % UInt64(source.configuration.vocabularySize)) } }
        let card = Compute(cpu: CPU(threads: 2), device: EmulatedDevice(), element: element)
        let check = CardGradientCheck(source: source, texts: texts, beginning: [2], compute: card)
        let results = try check.run()
        // A and B of each adapted linear, all of them, and the loss.
        #expect(results.count == 2 + 2 * CardGradientCheck.targets.count * source.configuration.family.blockCount)
        for result in results { #expect(result.passes, "\(result.line)") }
        let wrong = CardGradientCheck(source: source, texts: texts.map { $0.map { ($0 + 1) % 50 } }, beginning: [2], compute: card)
        let apart = try wrong.compare(check.step(card), wrong.step(Compute(cpu: CPU(threads: 2))))
        #expect(apart.count(where: { !$0.passes }) > apart.count / 2)
    }
}
