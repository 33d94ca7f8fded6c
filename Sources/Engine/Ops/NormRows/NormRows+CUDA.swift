import LorikeetDevices

extension NormRows {
    func run(_ context: borrowing DeviceRun) throws {
        let values = context.values
        let kernel = context.type(input) == context.element ? "norm_rows_forward" : "norm_rows_forward_wide"
        try context.normRows(kernel, parts, rows: values[input].shape[0]) {
            $0.add(try context.address(input))
            $0.add(try context.address(output))
            $0.add(try context.address(kept))
            $0.add(try context.address(inverseRMS))
        } strides: {
            for id in [input, output, kept ?? input] { $0.add(Int32(values[id].shape[1])) }
        } numbers: {
            $0.add(epsilon)
            $0.add(weightOffset)
        }
    }
}

extension NormRowsBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let values = context.values
        let kernel = context.type(x) == context.element ? "norm_rows_backward" : "norm_rows_backward_wide"
        try context.normRows(kernel, parts, rows: values[dy].shape[0]) {
            $0.add(try context.address(dy))
            $0.add(try context.address(x))
            $0.add(try context.address(inverseRMS))
            $0.add(try context.address(dx))
        } strides: {
            for id in [dy, x, dx] { $0.add(Int32(values[id].shape[1])) }
        } numbers: {
            $0.add(weightOffset)
        }
    }
}

extension DeviceRun {
    /// A launch of norm_rows.cu, whose structs differ in addresses, strides and last numbers alone. A team is as many lanes of a warp as
    /// hold the wider part's columns in sixteen elements each, or a block.
    fileprivate func normRows(
        _ kernel: String, _ parts: [NormPart], rows: Int, addresses: (inout KernelArguments) throws -> Void, strides: (inout KernelArguments) -> Void,
        numbers: (inout KernelArguments) -> Void
    ) throws {
        let (units, widest) = (rows * parts.reduce(0) { $0 + $1.groups }, parts.reduce(0) { max($0, $1.columns) })
        let lanes = [8, 16, 32].first { widest <= 16 * $0 } ?? 0
        let threads = lanes > 0 ? 128 : rowThreads(widest)
        try launch("norm_rows", kernel, blocks: (lanes > 0 ? max(1, (units * lanes + 127) / 128) : units, 1, 1), threads: threads) {
            try addresses(&$0)
            for weight in try parts.fields(NormRows.maximumParts, none: nil, { try weights.vector($0.weight) as DeviceAddress? }) { $0.add(weight) }
            $0.add(Int32(rows))
            strides(&$0)
            for field in [\NormPart.groups, \.columns, \.firstColumn] {
                for number in parts.fields(NormRows.maximumParts, none: 0, { $0[keyPath: field] }) { $0.add(Int32(number)) }
            }
            $0.add(Int32(lanes))
            numbers(&$0)
        }
    }
}
