import LorikeetGround
import LorikeetDevices

/// Products straight from codes: what a decoded token takes of a card.
extension KernelCase {
    private struct Shape: Sendable {
        /// nil is NF4.
        var format: BlockFormat?
        var rows, columns: Int
        /// Rows of matrices side by side.
        var outputs: [Int]
        var large = false

        var detail: String {
            "\(format?.rawValue ?? "nf4"), \(rows) x \(columns) to \(outputs.map(String.init).joined(separator: "|"))"
        }
    }

    /// NF4 rows that are whole blocks, begin inside blocks, inside words and inside bytes; one warp's work, and eight warps'.
    static let decodingCases: [KernelCase] =
        ([
            Shape(rows: 1, columns: 64, outputs: [16]), Shape(rows: 3, columns: 96, outputs: [37, 9, 70]), Shape(rows: 9, columns: 40, outputs: [21]),
            Shape(rows: 16, columns: 33, outputs: [5, 8]), Shape(rows: 8, columns: 2080, outputs: [9]),
            Shape(rows: 16, columns: 4096, outputs: [4096, 1024, 1024], large: true), Shape(rows: 5, columns: 4096, outputs: [11008, 11008], large: true),
            Shape(rows: 1, columns: 11008, outputs: [4096], large: true),
        ]
        + BlockFormat.allCases.flatMap { format in
            [
                Shape(format: format, rows: 1, columns: format.blockElements, outputs: [16]), Shape(format: format, rows: 11, columns: 512, outputs: [37, 70]),
                Shape(format: format, rows: 16, columns: 2048, outputs: [9000, 7], large: true),
            ]
        }).map { shape in
            KernelCase(name: "multiply_codes", detail: shape.detail, large: shape.large) { try decoded(shape, $0) }
        }

    private static func decoded(_ shape: Shape, _ comparison: KernelComparison) throws -> [Deviation] {
        let (rows, columns, joint) = (shape.rows, shape.columns, shape.outputs.reduce(0, +))
        // Small: scales of random blocks are not.
        let x = comparison.element.decode(
            comparison.element.encode((0..<rows * columns).map { uniform(UInt64($0) + 99) / Float(columns) }))
        let weights = try DeviceWeights(device: comparison.device, bytes: joint * columns * 2 + 4096 * shape.outputs.count)
        defer { withExtendedLifetime(weights) {} }
        var (matrices, wanted): ([CodesProduct.Matrix], [Float]) = ([], Array(repeating: 0, count: rows * joint))
        var first = 0
        for outputs in shape.outputs {
            let (store, form) = try stored(shape.format, outputs, columns, in: weights, comparison)
            // The processor takes eight rows at a time.
            for row in stride(from: 0, to: rows, by: 8) {
                wanted.withUnsafeMutableBufferPointer { y in
                    x.withUnsafeBufferPointer { x in
                        guard let x = x.baseAddress, let y = y.baseAddress else { return }
                        store.multiply(rows: 0..<outputs, x: x + row * columns, count: min(8, rows - row), into: y + row * joint + first, ldy: joint)
                    }
                }
            }
            matrices.append(CodesProduct.Matrix(form: form, outputs: outputs, first: first))
            first += outputs
        }
        return try [comparison.element, .f32].prefix(comparison.element == .f32 ? 1 : 2).map { output in
            let got = try comparison.withMemory(x.count * comparison.element.bytes) { from in
                try comparison.withMemory(rows * joint * output.bytes) { y in
                    try comparison.upload(comparison.element.encode(x), to: from)
                    let launches = CodesProduct(matrices, rows: rows, columns: columns)?.launches(
                        x: from, y: y, rows: rows, ld: joint, output: output, nestedValues: weights.nestedValues, comparison.element,
                        comparison.device.properties)
                    for launch in launches ?? [] { try comparison.device.launch(launch) }
                    return output.decode(try comparison.download(y, rows * joint * output.bytes))
                }
            }
            return Deviation(name: "y in \(output.suffix)", measured: KernelComparison.difference(got, wanted), tolerance: 4 * comparison.element.unit)
        }
    }

    /// A matrix of random codes for both sides.
    private static func stored(_ format: BlockFormat?, _ rows: Int, _ columns: Int, in weights: DeviceWeights, _ comparison: KernelComparison) throws
        -> (any WeightStore, DeviceForm)
    {
        guard let format else {
            let numbers = (0..<rows * columns).map { uniform(UInt64($0)) }
            let store = try NF4Store.quantise(FloatStore(rows: rows, columns: columns, copying: numbers), name: "w", cpu: comparison.cpu)
            return (store, try comparison.place(store, in: weights))
        }
        let bytes = blocks(format, count: rows * columns)
        let memory = try StoredBytes(count: bytes.count) { $0.copyMemory(from: bytes, byteCount: bytes.count) }
        let address = try weights.take(bytes.count)
        try comparison.upload(bytes, to: address)
        return (try BlockStore(rows: rows, columns: columns, format: format, bytes: memory, name: "w"), .blocks(address, format))
    }
}
