import Glibc
import LorikeetDevices

/// A factor of the queries that grows with their position, so that attention over long contexts stays sharp (Llama 4, Ministral 3):
///
///     joint[t, c] *= 1 + beta * log(1 + floor((positions[t] + offset) / original))     c < columns, in place
///
/// It is one number a row, so it may stand before or behind the rotation; before it, the rotation back stays part of attention's
/// backward kernels. Its adjoint is itself, on the gradient.
struct QueryScale: Op {
    var joint: ValueID
    var positions: ValueID
    /// H * D: the queries of the joint buffer.
    let columns: Int
    let beta: Float
    /// Positions of the original context, at least 1.
    let original: Int
    /// 1 in Llama 4, which counts positions from 1; 0 in Ministral 3.
    var offset = 0

    var kind: String { "query_scale" }
    var reads: [ValueID] { [joint, positions] }
    var writes: [ValueID] { [joint] }

    func work(_ context: WorkContext) -> [Work] {
        context.kernel(moving: Double(2 * context.values[joint].shape[0] * columns * context.values[joint].type.byteCount))
    }

    mutating func rename(_ name: Renaming) {
        name(&joint)
        name(&positions)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(joint)
        operands.expect(joint, "joint", nil, .activation)
        operands.expect(positions, "positions", [shape[0]], .i32)
        operands.require(columns <= shape[1], "\(columns) columns of queries are more than \(shape[1])")
    }

    func differentiate(_ backward: inout Differentiation) {
        guard let gradient = backward.gradient(of: joint) else { return }
        backward.append(QueryScale(joint: gradient, positions: positions, columns: columns, beta: beta, original: original, offset: offset))
    }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[joint].shape
        QueryScaleKernels.applyInPlace(
            try context.floats(joint), ld: shape[1], positions: try context.integers(positions), rows: shape[0], scale: self, cpu: context.cpu)
    }

    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[joint].shape
        try context.launch("rope", "query_scale", blocks: packBlocks(rows: shape[0], columns: columns, context.element), threads: 128) {
            $0.add(try context.address(joint))
            $0.add(try context.address(positions))
            for number in [shape[0], shape[1], columns, offset, original] { $0.add(Int32(clamping: number)) }
            $0.add(beta)
        }
    }
}

enum QueryScaleKernels {
    static func applyInPlace(
        _ x: UnsafeMutablePointer<Float>, ld: Int, positions: UnsafePointer<Int32>, rows: Int, scale: QueryScale, cpu: CPU
    ) {
        cpu.parallelRanges(over: rows) { range, _ in
            for row in range {
                let factor = 1 + scale.beta * logf(Float(1 + (Int(positions[row]) + scale.offset) / scale.original))
                let from = x + row * ld
                eachEight(scale.columns) {
                    store8(load8(from + $0) * factor, from + $0)
                } rest: { i, n in
                    storePartly(loadPartly(from + i, n) * factor, from + i, n)
                }
            }
        }
    }
}
