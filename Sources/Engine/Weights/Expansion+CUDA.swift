import LorikeetDevices

extension DeviceRun {
    /// Writes a whole matrix in the activations' type to `out`; where it is held so already, returns its own address instead.
    ///
    /// - Parameter out: nil asks only for a matrix that needs no expansion.
    func expanded(_ matrix: DeviceMatrix, into out: DeviceAddress) throws -> DeviceAddress {
        let count = matrix.rows * matrix.columns
        switch matrix.form {
        case .element(let address): return address
        case .nf4(let codes, let maxima, let nested, let offset):
            // A warp expands 2,048 weights at a time.
            let blocks = max(1, min((count / 2048 + 7) / 8, 32 * device.properties.multiprocessors))
            try launch("expand", "expand_nf4", blocks: (blocks, 1, 1), threads: 256) {
                $0.add(codes)
                $0.add(maxima)
                $0.add(nested)
                $0.add(weights.nestedValues)
                $0.add(out)
                $0.add(count)
                $0.add(offset)
            }
        case .blocks(let blocks, let format):
            try launch("expand", "expand_blocks", count: (count + 7) / 8) {
                $0.add(blocks)
                $0.add(out)
                $0.add(count)
                $0.add(Int32(BlockFormat.allCases.firstIndex(of: format) ?? 0))
            }
        }
        return out
    }
}
