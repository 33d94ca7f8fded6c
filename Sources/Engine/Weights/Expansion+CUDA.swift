import LorikeetDevices

extension DeviceWeights {
    /// Writes the matrices of parts one after the other in the activations' type to `scratch`.
    func joint(_ parts: [LinearPart], columns: Int, scratch: DeviceAddress, on device: any Accelerator, _ element: DeviceElement) throws {
        for part in parts {
            let matrix = try matrix(part.weight.name + ".weight")
            let to = scratch + part.firstRow * columns * element.bytes
            if case .element(let address) = matrix.form {
                try device.copy(address, to: to, bytes: matrix.rows * matrix.columns * element.bytes)
            } else {
                try expand(matrix, into: to, on: device, element)
            }
        }
    }

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
