import LorikeetDevices

/// The largest magnitude that a 16-bit value reached.
package struct ValueMagnitude: Sendable {
    /// The kind of op that wrote it.
    package let op: String
    /// What it is, e.g. `model.layers.3.mlp: gate * up`.
    package let detail: String
    /// Infinity (or NaN) where it overflowed.
    package let largest: Float
}

extension ValueMagnitude {
    /// The largest value of forward passes over `batches`, the first to overflow where one does; nil where nothing is held in 16 bits.
    package static func largest(over batches: [TokenBatch], _ session: Session) throws -> ValueMagnitude? {
        var most: ValueMagnitude?
        for batch in batches {
            // A comparison with NaN is false: it counts as overflow, which ends the search.
            for value in try session.magnitudes(batch) where !(value.largest <= most?.largest ?? -1) {
                most = value
                guard value.largest.isFinite else { return most }
            }
        }
        return most
    }
}

/// Which values of a forward pass are held against float16's range, and how they are measured.
///
/// Everything that is written in 16 bits and is not a weight: products of linears, attention, gated activations (gate * up is the
/// first to leave the range), norms, logits. Scratch values are skipped: they are uninitialised.
struct RangeProbe {
    /// Blocks of the kernel, each with a largest value of its own.
    static let blocks = 64

    private let values: ValueTable
    private let trainedRows: Int
    private let ops: [any Op]

    init(_ program: Program, trainedRows: Int) {
        values = program.values
        self.trainedRows = trainedRows
        ops = program.ops
    }

    var isEmpty: Bool { !ops.contains { !watched($0).isEmpty } }

    /// Values and their elements to look at, once `op` has run.
    func watched(_ op: any Op) -> [(value: ValueID, count: Int)] {
        let candidates: [ValueID] =
            switch op {
            case let op as GatedActivation: [op.out]
            case let op as Linear: [op.y]
            case let op as LoRADown: [op.side.narrow]
            case let op as LoRAUp: [op.side.wide]
            // The adapters' share of q, k and v is added here.
            case let op as RoPE: [op.joint]
            case let op as Attention: [op.out]
            case let op as RMSNorm: [op.output]
            case let op as any HeadOp: [op.chunks.logits]
            default: []
            }
        return candidates.compactMap { id in
            guard values[id].type == .f16 else { return nil }
            // The head works in chunks: rows beyond the trained ones are never written.
            let rows = op is any HeadOp ? min(values[id].shape[0], trainedRows) : values[id].shape[0]
            return (id, rows * values[id].elementCount / max(1, values[id].shape[0]))
        }
    }

    func name(_ op: any Op, _ value: ValueID) -> String {
        if op is GatedActivation, let before = ops.last(where: { $0.writes.contains(where: op.reads.contains) }) { return "gate * up after \(before.detail)" }
        return op.detail.isEmpty ? values[value].name : "\(values[value].name) of \(op.detail)"
    }

    /// What `launch` needs.
    static func module(_ element: DeviceElement) -> KernelModule { KernelModule("range", element) }

    /// Leaves the largest |x| of each block's share at `partial`; NaN counts as infinity.
    func launch(_ x: DeviceAddress, count: Int, into partial: DeviceAddress, on device: any Accelerator, _ element: DeviceElement) throws {
        var arguments = KernelArguments()
        arguments.add(x)
        arguments.add(partial)
        arguments.add(count)
        try device.launch(KernelLaunch("range", "largest_magnitude", element, grid: (Self.blocks, 1, 1), threads: 256, arguments: arguments))
    }
}
