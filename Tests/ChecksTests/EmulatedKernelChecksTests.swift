import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetGround
import Synchronization
import Testing

@testable import LorikeetChecks
@testable import LorikeetEngine

/// `doctor --kernels` on the emulated card: every kernel is held up, passes, and is missed when it does nothing.
struct EmulatedKernelChecksTests {
    private static let cpu = CPU(threads: 1)

    @Test(arguments: DeviceElement.allCases) func `every kernel of the type is launched and passes`(element: DeviceElement) throws {
        let device = EmulatedDevice()
        var results: [KernelChecks.Result] = []
        let cases = try KernelChecks(device: device, cpu: Self.cpu).run(element, large: false) { results.append($0) }
        for result in results { #expect(result.deviation.passes, "\(result.deviation.line)") }
        #expect(results.count > 300)
        #expect(device.unprepared.isEmpty, "compiled when it was launched, not before: \(device.unprepared)")
        let launched = Set(device.launched.keys)
        for kernel in KernelSources.kernels {
            // Tensor cores and what is made for 16 bits have no float32; the residual stream has a type of its own beside float16 alone.
            if element == .f32, kernel.name.hasPrefix("lora_") || kernel.source == "attention.cu" { continue }
            if element == .bf16, kernel.name == "lora_up_residual" { continue }
            let beside = kernel.name.hasSuffix("_wide") || kernel.name.hasSuffix("_narrow") || kernel.name == "element_add"
            if element != .f16, beside { continue }
            #expect(launched.contains(kernel.name + "_" + element.suffix), "\(kernel.source): \(kernel.name)")
        }
        // float16 has all kernels; what no case launched is named.
        guard element == .f16 else { return }
        #expect(KernelChecks.notTested(launched: cases).isEmpty)
        let untested = KernelChecks.notTested(launched: cases, kernels: KernelSources.kernels + [("new.cu", "new_forward")])
        #expect(untested == [.init("new_forward", "no case launches this kernel of new.cu")])
    }

    @Test func `a number that is NaN, infinite or not there is as far off as can be`() {
        for bad in [Float.nan, .infinity, -.infinity] {
            for pair in [([1, bad], [1, 2]), ([1, 2], [1, bad]), ([bad, bad], [bad, bad])] as [([Float], [Float])] {
                #expect(KernelComparison.difference(pair.0, pair.1) == .infinity)
                #expect(KernelComparison.difference(pair.0, pair.1, .zeros) == .infinity)
            }
        }
        #expect(KernelComparison.difference([], []) == .infinity && KernelComparison.unequal([], []) == .infinity && KernelComparison.difference([1], [1]) == 0)
        for bad in [Double.nan, .infinity, -.infinity, -1] { #expect(!Deviation(name: "", measured: bad, tolerance: 1e9).passes) }
        #expect(!Deviation(name: "", measured: 0, tolerance: .nan).passes && Deviation(name: "", measured: 1, tolerance: 1).passes)
        #expect(maximumOrNaN(0, .nan).isNaN && maximumOrNaN(.nan, 0).isNaN && maximumOrNaN(1, 2) == 2)
        // The worst of a kernel's results is the one that is no number.
        let results = [Double.nan, 3, .infinity, 0.5].map {
            KernelChecks.Result(kernel: "k", element: .f32, deviation: Deviation(name: "", measured: $0, tolerance: 1))
        }
        for order in [results, results.reversed()] {
            #expect(KernelChecks.worst(order).count == 1 && KernelChecks.worst(order).first?.deviation.measured.isFinite == false)
        }
    }

    @Test func `a check passes on evidence alone`() {
        let good = Deviation(name: "", measured: 0, tolerance: 1)
        #expect(CheckReport(results: [good]).passes && !CheckReport().passes)
        let partly = CheckReport(results: [good, good], notTested: [.init("losses", "no file")])
        #expect(!partly.passes && partly.failed == 0 && partly.summary == "2 passed, 0 failed, 1 not tested")
    }

    /// A card on which one kernel, or every product, does nothing.
    private final class BrokenDevice: Accelerator {
        private let device = EmulatedDevice()
        /// A kernel's name, or `product`.
        var broken = ""
        /// It is an error to ask for it, and the card is lost then.
        var (refuses, lost) = (false, false)
        var asked: Set<String> = []

        var properties: AcceleratorProperties { device.properties }
        func allocate(bytes: Int) throws -> DeviceAddress { try device.allocate(bytes: bytes) }
        func free(_ address: DeviceAddress) { device.free(address) }
        func upload(count: Int, to: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
            try device.upload(count: count, to: to, fill: fill)
        }
        func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws { try device.download(from, into: into) }
        func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws { try device.copy(from, to: to, bytes: bytes) }
        func zero(_ address: DeviceAddress, bytes: Int) throws { try device.zero(address, bytes: bytes) }
        func launch(_ launch: KernelLaunch) throws {
            asked.insert(launch.kernel)
            if refuses, launch.kernel == broken { throw LorikeetError.machine("refused") }
            if launch.kernel != broken { try device.launch(launch) }
        }
        func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
            asked.insert("product")
            if broken != "product" { try device.multiply(product, a: a, b: b, c: c) }
        }
        func synchronize() throws { if lost { throw LorikeetError.machine("the card is lost") } }
        func record(_ body: () throws -> Void) -> (any RecordedWork)? { nil }
        func mark() {}
        func marks() -> [Double] { [] }
        func usedBytes() -> Int { device.usedBytes() }
    }

    @Test func `a case that the card refuses counts as failed; a card that is lost ends the check`() throws {
        let device = BrokenDevice()
        (device.broken, device.refuses) = ("rope_apply", true)
        var failed: [String] = []
        let checks = KernelChecks(device: device, cpu: Self.cpu)
        try checks.run(.f32, large: false) { if !$0.deviation.passes { failed.append($0.deviation.line) } }
        let rotating = KernelCase.all.count { !$0.large && ["rope", "attention", "linear, then rope"].contains($0.name) }
        #expect(failed.count == rotating && rotating > 10 && failed.allSatisfy { $0.contains("refused") }, "\(failed)")
        device.lost = true
        #expect(throws: LorikeetError.self) { try checks.run(.f32, large: false) { _ in } }
    }

    @Test func `a large case runs once, and its kernels count as launched`() throws {
        let runs = Mutex<[String: Int]>([:])
        let some = KernelCase.all.filter { !$0.large && $0.elements.contains(.f32) && ["rope", "gated_activation"].contains($0.name) }
        let cases = some.map { item in
            var counted = KernelCase(name: item.name, detail: item.detail, elements: item.elements) { comparison in
                runs.withLock { $0[item.name + item.detail, default: 0] += 1 }
                return try item.run(comparison)
            }
            counted.large = item.name == "rope"
            return counted
        }
        let device = EmulatedDevice()
        var passed = 0
        let launched = try KernelChecks(device: device, cpu: Self.cpu).run(.f32, among: cases) { if $0.deviation.passes { passed += 1 } }
        // A small case is walked once more before, so that its kernels are compiled with all others.
        for item in some { #expect(runs.withLock { $0[item.name + item.detail] } == (item.name == "rope" ? 1 : 2), "\(item.name), \(item.detail)") }
        #expect(some.count > 5 && passed >= some.count)
        #expect(launched == Set(device.launched.keys.map { String($0.dropLast("_f32".count)) }) && launched.contains("rope_apply"))
    }

    @Test(arguments: [DeviceElement.f32, .f16]) func `a kernel that does nothing fails its check`(element: DeviceElement) throws {
        let device = BrokenDevice()
        let comparison = KernelComparison(device: device, cpu: Self.cpu, element: element)
        var seen: Set<String> = []
        for item in KernelCase.all where item.elements.contains(element) && !item.large {
            device.asked = []
            device.broken = ""
            // A case is run again only for what no earlier one has shown.
            let known = seen
            if try item.run(comparison).contains(where: { !$0.passes }) { Issue.record("\(item.name), \(item.detail)") }
            for kernel in device.asked.subtracting(known).sorted() {
                device.broken = kernel
                #expect(try item.run(comparison).contains { !$0.passes }, "\(item.name), \(item.detail) without \(kernel)")
                seen.insert(kernel)
            }
        }
        #expect(seen.count > (element == .f32 ? 25 : 30))
    }
}
