import LorikeetDevices
import LorikeetGround

extension DeviceRun {
    /// The address of a table (embedding, head), which a card holds in the activations' type.
    func table(_ name: String) throws -> DeviceAddress {
        guard case .element(let address) = try weights.matrix(name).form else {
            throw LorikeetError.machine("the card does not hold \(name) expanded", fix: "report this with lorikeet plan --explain's output")
        }
        return address
    }

    /// out[i] = x[rows[i]], zeros where rows[i] < 0.
    func gather(_ x: DeviceAddress, rows: DeviceAddress, into out: DeviceAddress, count: Int, columns: Int) throws {
        try launch("embedding", "gather_rows", blocks: packBlocks(rows: count, columns: columns, element), threads: 128) {
            $0.add(x)
            $0.add(rows)
            $0.add(out)
            $0.add(Int32(count))
            $0.add(Int32(columns))
        }
    }
}

extension Embedding {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[output].shape
        let rows = try context.weights.matrix(weight).rows
        try context.launch("embedding", "embedding_forward", blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128) {
            $0.add(try context.address(ids))
            $0.add(try context.table(weight))
            $0.add(try context.address(output))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(Int32(rows))
            $0.add(scale)
        }
    }
}
