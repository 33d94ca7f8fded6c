import LorikeetDevices

extension DeviceRun {
    /// Writes a whole matrix in the activations' type to `out`; where it is held so already, returns its own address instead.
    func expanded(_ matrix: DeviceMatrix, into out: DeviceAddress) throws -> DeviceAddress {
        if case .element(let address) = matrix.form { return address }
        try weights.expand(matrix, into: out, on: device, element)
        return out
    }
}

extension DeviceWeights {
    /// Writes a stored matrix in the activations' type to `out`.
    func expand(_ matrix: DeviceMatrix, into out: DeviceAddress, on device: any Accelerator, _ element: DeviceElement) throws {
        let count = matrix.rows * matrix.columns
        var arguments = KernelArguments()
        switch matrix.form {
        case .element: return
        case .nf4(let codes, let maxima, let nested, let offset):
            // A warp expands 2,048 weights at a time.
            let blocks = max(1, min((count / 2048 + 7) / 8, 32 * device.properties.multiprocessors))
            for address in [codes, maxima, nested, nestedValues, out] { arguments.add(address) }
            arguments.add(count)
            arguments.add(offset)
            try device.launch(KernelLaunch("expand", "expand_nf4", element, grid: (blocks, 1, 1), threads: 256, arguments: arguments))
        case .blocks(let blocks, let format):
            for address in [blocks, out] { arguments.add(address) }
            arguments.add(count)
            arguments.add(Int32(BlockFormat.allCases.firstIndex(of: format) ?? 0))
            let grid = max(1, ((count + 7) / 8 + 255) / 256)
            try device.launch(KernelLaunch("expand", "expand_blocks", element, grid: (grid, 1, 1), threads: 256, arguments: arguments))
        }
    }
}
