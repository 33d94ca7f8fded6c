import LorikeetDevices

extension DeviceRun {
    /// The joint matrix [sum of rows, columns] of parts side by side: where it is held, or expanded into `scratch`.
    fileprivate func joint(_ parts: [LinearPart], columns: Int, scratch: ValueID) throws -> DeviceAddress {
        if let held = try held(parts) { return held }
        let to = try address(scratch)
        try weights.joint(parts, columns: columns, scratch: to, on: device, element)
        return to
    }

    /// The address of the parts where they are stored contiguously in the activations' type; nil otherwise.
    func held(_ parts: [LinearPart]) throws -> DeviceAddress? {
        var (first, next): (DeviceAddress?, DeviceAddress?)
        for part in parts {
            let matrix = try weights.matrix(part.weight.name + ".weight")
            guard case .element(let address) = matrix.form, next == nil || next == address else { return nil }
            first = first ?? address
            next = address + matrix.rows * matrix.columns * element.bytes
        }
        return first
    }
}

extension Linear {
    func run(_ context: borrowing DeviceRun) throws {
        let (device, element) = (context.device, context.element)
        let (tokens, joint) = (context.values[x].shape[0], context.values[y].shape[1])
        let output = context.type(y)
        let (x, y) = (try context.address(x), try context.address(y))
        if try !context.multiplyFromCodes(parts, x: x, y: y, rows: tokens, columns: columns, ld: joint, output: output) {
            let matrix = try context.joint(parts, columns: columns, scratch: scratch)
            try device.multiply(
                MatrixProduct(
                    m: tokens, n: joint, k: columns, transposeB: true, inputs: element, output: output, lda: columns, ldb: columns, ldc: joint),
                a: x, b: matrix, c: y)
        }
        for part in parts {
            if part.weight.hasBias {
                let bias = try context.weights.vector(part.weight.name + ".bias")
                var arguments = KernelArguments()
                for address in [y + part.firstRow * output.bytes, bias] { arguments.add(address) }
                for number in [tokens, part.weight.rows, joint] { arguments.add(Int32(number)) }
                // y's own type: beside float16 the residual stream is float32.
                let blocks = packBlocks(rows: tokens, columns: part.weight.rows, output)
                try device.launch(KernelLaunch("embedding", "bias_add", output, grid: blocks, threads: 128, arguments: arguments))
            }
        }
    }
}

extension LinearBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let (tokens, joint, element) = (context.values[dy].shape[0], context.values[dy].shape[1], context.element)
        let matrix = try context.joint(parts, columns: columns, scratch: scratch)
        try context.device.multiply(
            MatrixProduct(m: tokens, n: columns, k: joint, inputs: element, output: element, lda: joint, ldb: columns, ldc: columns),
            a: context.address(dy), b: matrix, c: context.address(dx))
    }
}
