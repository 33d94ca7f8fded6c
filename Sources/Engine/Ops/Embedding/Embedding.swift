import LorikeetDevices

/// hidden[t, :] = scale * table[ids[t], :].    ids [T] int32, table [V, C] (any storage), hidden [T, C] (overwritten).
///
/// The table is frozen, so there is no backward op. A session refuses ids outside the table before it runs a program
/// (`TokenBatch.check`); the kernels read nothing outside it all the same.
struct Embedding: Op {
    var ids: ValueID
    var output: ValueID
    let weight: String
    let scale: Float

    var kind: String { "embedding" }
    var reads: [ValueID] { [ids] }
    var writes: [ValueID] { [output] }
    var detail: String { weight }

    func work(_ context: WorkContext) -> [Work] {
        (context.load.embeddingOnHost ? [.hostBytes(context.bytes(output))] : []) + context.kernel(moving: 2 * context.bytes(output))
    }

    mutating func rename(_ name: Renaming) {
        name(&ids)
        name(&output)
    }

    func check(_ operands: inout OperandCheck) {
        operands.expect(ids, "ids", [operands.shape(output)[0]], .i32)
        operands.expect(output, "hidden", nil, .residual)
    }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[output].shape
        let columns = shape[1]
        let table = try context.matrix(weight)
        let ids = try context.integers(ids)
        let out = try context.floats(output)
        let scale = scale
        context.cpu.parallelRanges(over: shape[0]) { rows, _ in
            for row in rows {
                let id = Int(ids[row])
                let to = out + row * columns
                guard id >= 0, id < table.rows else {
                    to.update(repeating: 0, count: columns)
                    continue
                }
                table.expand(rows: id..<(id + 1), into: to)
                if scale != 1 { for c in 0..<columns { to[c] *= scale } }
            }
        }
    }
}
