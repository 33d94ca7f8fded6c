import EmulatedDevice
import Foundation
import LorikeetDevices
import LorikeetEngine
import Testing

@testable import Lorikeet

/// The GPU's programs and kernels, run on the CPU, against the numbers of the Hugging Face stack.
struct EmulatedReferenceTests {
    @Test(arguments: DeviceElement.allCases) func `the tiny llama on an emulated card passes every tolerance`(element: DeviceElement) throws {
        let device = EmulatedDevice()
        let compute = Compute(cpu: CPU(threads: 2), device: device, element: element)
        let results = try ReferenceCheck(directory: ReferenceTests.root.appending(path: "Reference/llama").path, compute: compute).run()
        #expect(results.count > 80)
        for result in results { #expect(result.passes, "\(result.line)") }
        #expect(device.launched["rmsnorm_backward_" + element.suffix] != nil)
    }
}
