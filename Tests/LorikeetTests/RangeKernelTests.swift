import EmulatedDevice
import LorikeetDevices
import Testing

/// largest_magnitude, which the range probe asks.
struct RangeKernelTests {
    /// The largest of all blocks' for values encoded as the element.
    private func largest(_ values: [Float], _ element: DeviceElement, blocks: Int = 3) throws -> [Float] {
        let device = EmulatedDevice()
        let bytes: [UInt8] = values.flatMap { value -> [UInt8] in
            switch element {
            case .f32: withUnsafeBytes(of: value.bitPattern) { Array($0) }
            case .f16: withUnsafeBytes(of: Float16(value).bitPattern) { Array($0) }
            case .bf16: withUnsafeBytes(of: UInt16(truncatingIfNeeded: value.bitPattern >> 16)) { Array($0) }
            }
        }
        let (x, partial) = (try device.allocate(bytes: bytes.count), try device.allocate(bytes: 4 * blocks))
        try bytes.withUnsafeBytes { try device.upload($0, to: x) }
        var arguments = KernelArguments()
        arguments.add(x)
        arguments.add(partial)
        arguments.add(values.count)
        try device.launch(KernelLaunch("range", "largest_magnitude", element, grid: (blocks, 1, 1), threads: 256, arguments: arguments))
        var results = [Float](repeating: 0, count: blocks)
        try results.withUnsafeMutableBytes { try device.download(partial, into: $0) }
        return results
    }

    @Test(arguments: DeviceElement.allCases, [1, 255, 256, 1025]) func `the largest of any count is found at any place`(element: DeviceElement, count: Int)
        throws
    {
        for place in Set([0, count / 2, count - 1]) {
            var values = (0..<count).map { Float($0 % 7) - 3 }
            values[place] = -64
            #expect(try largest(values, element).max() == 64)
        }
    }

    @Test(arguments: DeviceElement.allCases) func `an infinite value and a NaN both make the largest infinite`(element: DeviceElement) throws {
        for bad in [Float.infinity, -.infinity, .nan] {
            var values = [Float](repeating: 1, count: 700)
            values[333] = bad
            #expect(try largest(values, element).contains(.infinity))
        }
    }
}
