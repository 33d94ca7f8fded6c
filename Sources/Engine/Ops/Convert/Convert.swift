import LorikeetDevices

/// A gradient of the residual stream in the activations' type, which matrix products take: out = round(x), [T, C].
///
/// Overwrites out. Only where the two types differ (float16 beside a float32 stream).
struct Convert: Op {
    var x: ValueID
    var out: ValueID

    var kind: String { "convert" }
    var reads: [ValueID] { [x] }
    var writes: [ValueID] { [out] }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&out)
    }

    func check(_ operands: inout OperandCheck) {
        operands.expect(x, "x", operands.shape(out), .residual)
        operands.expect(out, "out", nil, .activation)
    }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(values[x].byteCount + values[out].byteCount)) }

    func run(_ context: borrowing CPURun) throws {
        (try context.floats(out)).update(from: try context.floats(x), count: context.values[out].elementCount)
    }

    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[out].shape
        try context.launch("add", "residual_to_element", blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128) {
            $0.add(try context.address(x))
            $0.add(try context.address(out))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
        }
    }
}
