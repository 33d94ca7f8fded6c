import Foundation
import LorikeetDevices
import LorikeetEngine
import StubCard
import Testing

@testable import LorikeetChecks

/// The list of kernels that an archive holds is what cards are asked to launch: nothing is missing, and nothing is there in vain.
struct KernelVariantsTests {
    @Test(arguments: KernelArchive.architectures) func `every kernel's cases launch what is listed, and everything listed is launched`(
        architecture: Int
    ) throws {
        let listed = KernelVariants.modules(architecture: architecture)
        #expect(Set(listed).count == listed.count)
        var properties = AcceleratorProperties(name: "a card", architecture: architecture, multiprocessors: 40, totalBytes: 16 << 30, driver: "")
        properties.multipliesByWarpgroup = architecture == 90
        let list = LaunchList(properties)
        let checks = KernelChecks(device: list, cpu: CPU(threads: 2))
        // On this list nothing is computed, so that the numbers are wrong; the launches are right.
        for element in checks.elements { try checks.run(element, large: false) { _ in } }
        let launched = Set(list.modules)
        #expect(launched.subtracting(listed).isEmpty, "\(launched.subtracting(listed))")
        // Not among the small cases: updates of more than 32 ranks, the largest magnitudes before a float16 run, a file's bfloat16 weights.
        let elsewhere = Set(listed).subtracting(launched).filter {
            $0.source != "range" && !($0.element == .bf16 && architecture < 80) && $0.defines != ["STEPS=3"] && $0.defines != ["STEPS=4"]
        }
        #expect(elsewhere.isEmpty, "\(elsewhere)")
    }

    @Test(arguments: KernelArchive.architectures) func `with an archive of the list every case runs on a card without NVRTC`(architecture: Int) throws {
        let stub = try StubCard(["capability \(architecture)"])
        var options = stub.options
        options.kernelFolders = [stub.folder + "/kernels"]
        _ = try KernelArchiveWriter(options).write(
            KernelVariants.modules(architecture: architecture), architecture: architecture, to: stub.folder + "/kernels", threads: 2)
        try FileManager.default.removeItem(atPath: stub.folder + "/libnvrtc.so.12")
        let checks = KernelChecks(device: try CUDADevice(options), cpu: CPU(threads: 2))
        for element in checks.elements {
            try checks.run(element, large: false) { #expect(!$0.deviation.name.contains("libnvrtc"), "\($0.deviation.name)") }
        }
        #expect(stub.calls("cuLaunchKernel").count > 300)
    }
}
