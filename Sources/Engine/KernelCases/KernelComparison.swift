import LorikeetDevices
import LorikeetGround

/// Runs ops on a card and on the processor with the same numbers and compares what they made.
package struct KernelComparison {
    let device: any Accelerator
    let cpu: CPU
    let element: DeviceElement

    /// - Parameter element: the card's type of activations.
    package init(device: any Accelerator, cpu: CPU, element: DeviceElement) { (self.device, self.cpu, self.element) = (device, cpu, element) }

    /// What the card multiplies the loss by; a power of two, so that it changes no digit.
    static let lossScale: Float = 8

    /// - Parameter build: adds the values and returns the ops, for the builder's target.
    func compare(_ build: (inout CaseBuilder) -> [any Op]) throws -> [Deviation] {
        var plain = CaseBuilder(target: .cpu(threads: cpu.threads), element: element)
        var card = CaseBuilder(target: .device(element), element: element)
        let (plainOps, cardOps) = (build(&plain), build(&card))
        let wanted = try onProcessor(plain, plainOps)
        let got = try onCard(card, cardOps)
        return zip(card.compared, zip(got, wanted)).map { what, numbers in
            Deviation(name: what.name, measured: Self.difference(numbers.0, numbers.1, what.measure), tolerance: what.tolerance)
        }
    }

    /// Infinite where a number is NaN or infinite, the counts differ, or there are none.
    static func difference(_ ours: [Float], _ theirs: [Float], _ measure: CaseBuilder.Measure = .ofLargest) -> Double {
        guard ours.count == theirs.count, !theirs.isEmpty, ours.allSatisfy(\.isFinite), theirs.allSatisfy(\.isFinite) else { return .infinity }
        if measure == .zeros { return Double(zip(ours, theirs).count { ($0 == 0) != ($1 == 0) }) }
        var (worst, largest) = (0.0, 0.0)
        for (a, b) in zip(ours, theirs) {
            worst = max(worst, abs(Double(a) - Double(b)))
            largest = max(largest, abs(Double(b)))
        }
        return largest > 0 ? worst / largest : worst
    }

    /// How many bytes differ: for what has to be equal. Infinite where there are none.
    static func unequal(_ ours: [UInt8], _ theirs: [UInt8]) -> Double {
        ours.count == theirs.count && !theirs.isEmpty ? Double(zip(ours, theirs).count { $0 != $1 }) : .infinity
    }

    // MARK: places

    /// Offsets of the values one behind the other, and the bytes they take.
    private func layout(_ builder: CaseBuilder) -> (offsets: [Int?], bytes: Int) {
        var (offsets, used): ([Int?], Int) = ([], 0)
        for id in builder.values.ids {
            let value = builder.values[id]
            guard value.livesInArena || value.kind == .persistent else {
                offsets.append(nil)
                continue
            }
            offsets.append(used)
            used += value.byteCount.roundedUp(toMultipleOf: DeviceWeights.alignment)
        }
        return (offsets, max(256, used))
    }

    private func onProcessor(_ builder: CaseBuilder, _ ops: [any Op]) throws -> [[Float]] {
        let (offsets, bytes) = layout(builder)
        let arena = try Buffer(bytes: bytes)
        // NaN: what nothing wrote must not pass for a result.
        arena.pointer(as: UInt8.self).update(repeating: 0xff, count: bytes)
        for (index, contents) in builder.contents {
            guard let offset = offsets[index] else { continue }
            switch contents {
            case .floats(let numbers): arena.pointer(as: Float.self, at: offset).update(from: numbers, count: numbers.count)
            case .integers(let numbers): arena.pointer(as: Int32.self, at: offset).update(from: numbers, count: numbers.count)
            }
        }
        var weights = WeightTable()
        for (name, numbers) in builder.vectors {
            let buffer = try Buffer(bytes: max(4, numbers.count * 4))
            buffer.pointer(as: Float.self).update(from: numbers, count: numbers.count)
            weights.set(name, vector: buffer)
        }
        for matrix in builder.matrices {
            let store = try FloatStore(rows: matrix.rows, columns: matrix.columns, copying: matrix.numbers)
            weights.set(matrix.name, matrix: try convert(store, to: matrix.storage, name: matrix.name, cpu: cpu))
        }
        let (parameters, gradients) = (try Buffer(bytes: 4 * builder.parameters.count + 4), try Buffer(bytes: 4 * builder.parameters.count + 4))
        parameters.pointer(as: Float.self).update(from: builder.parameters, count: builder.parameters.count)
        gradients.pointer(as: Float.self).update(from: builder.gradients, count: builder.gradients.count)
        var persistent: [Int: UnsafeMutableRawPointer] = [:]
        for id in builder.values.ids where builder.values[id].kind == .persistent {
            if let offset = offsets[id.index] { persistent[id.index] = arena.base + offset }
        }
        let context = CPURun(
            cpu: cpu, values: builder.values, weights: weights, adapterOn: !builder.parameters.isEmpty, offsets: offsets, arena: arena.base,
            parameters: parameters.pointer(as: Float.self), gradients: gradients.pointer(as: Float.self), persistent: persistent)
        for op in ops { try op.run(context) }
        return try builder.compared.map {
            Array(UnsafeBufferPointer(start: try context.floats($0.id), count: builder.values[$0.id].elementCount))
        }
    }

    private func onCard(_ builder: CaseBuilder, _ ops: [any Op]) throws -> [[Float]] {
        let (offsets, bytes) = layout(builder)
        let count = builder.parameters.count
        return try withMemory(bytes) { arena in
            try withMemory(4 * count + count * element.bytes + 1024) { trained in
                try onCard(builder, ops, offsets: offsets, arena: arena, trained: trained)
            }
        }
    }

    /// - Parameters:
    ///   - arena: where the values lie, at `offsets`.
    ///   - trained: room for the loss scale, the gradients and the parameters.
    private func onCard(
        _ builder: CaseBuilder, _ ops: [any Op], offsets: [Int?], arena: DeviceAddress, trained: DeviceAddress
    ) throws -> [[Float]] {
        let count = builder.parameters.count
        for (index, contents) in builder.contents {
            guard let offset = offsets[index] else { continue }
            switch contents {
            case .floats(let numbers):
                let type: DeviceElement = [.f16: .f16, .bf16: .bf16][builder.values.values[index].type] ?? .f32
                try upload(type.encode(numbers), to: arena + offset)
            case .integers(let numbers): try numbers.withUnsafeBytes { try device.upload($0, to: arena + offset) }
            }
        }
        let weights = try place(builder)
        // The loss scale, the gradients, the parameters in the activations' type.
        let gradients = trained + 256
        let parameters = gradients + (4 * count).roundedUp(toMultipleOf: DeviceWeights.alignment)
        try [Self.lossScale].withUnsafeBytes { try device.upload($0, to: trained) }
        try builder.gradients.withUnsafeBytes { try device.upload($0, to: gradients) }
        try upload(element.encode(builder.parameters), to: parameters)
        var persistent: [Int: DeviceAddress] = [:]
        for id in builder.values.ids where builder.values[id].kind == .persistent {
            if let offset = offsets[id.index] { persistent[id.index] = arena + offset }
        }
        let context = DeviceRun(
            device: device, element: element, values: builder.values, weights: weights, adapterOn: count > 0, offsets: offsets, arena: arena,
            parameters: parameters, gradients: gradients, persistent: persistent, lossScale: trained, parked: nil, trainedRows: builder.trainedRows)
        for op in ops { try op.run(context) }
        return try builder.compared.map {
            let type = context.type($0.id)
            return type.decode(try download(try context.address($0.id), builder.values[$0.id].elementCount * type.bytes))
        }
    }

    private func place(_ builder: CaseBuilder) throws -> DeviceWeights {
        let matrixBytes = builder.matrices.reduce(0) { $0 + $1.numbers.count * 4 + 4096 }
        let weights = try DeviceWeights(device: device, bytes: builder.vectors.reduce(matrixBytes) { $0 + $1.numbers.count * 4 + 4096 })
        for (name, numbers) in builder.vectors {
            let address = try weights.take(numbers.count * 4)
            try numbers.withUnsafeBytes { try device.upload($0, to: address) }
            weights.set(name, vector: address)
        }
        for matrix in builder.matrices {
            let form: DeviceForm
            if matrix.storage == .nf4 {
                let store = try FloatStore(rows: matrix.rows, columns: matrix.columns, copying: matrix.numbers)
                form = try place(try NF4Store.quantise(store, name: matrix.name, cpu: cpu), in: weights)
            } else {
                let address = try weights.take(matrix.numbers.count * element.bytes)
                try upload(element.encode(matrix.numbers), to: address)
                form = .element(address)
            }
            weights.set(matrix.name, matrix: DeviceMatrix(rows: matrix.rows, columns: matrix.columns, form: form))
        }
        return weights
    }

    /// A matrix that the processor quantised, on the card.
    func place(_ store: NF4Store, in weights: DeviceWeights) throws -> DeviceForm {
        let layout = store.layout
        let (codes, maxima) = (try weights.take(layout.codeBytes), try weights.take(layout.blocks))
        let nested = try weights.take(layout.nestedBlocks * 4)
        try upload(store.codes, to: codes)
        try upload(store.maxima, to: maxima)
        try store.nestedMaxima.withUnsafeBytes { try device.upload($0, to: nested) }
        return .nf4(codes: codes, maxima: maxima, nestedMaxima: nested, offset: store.offset)
    }

    func upload(_ bytes: [UInt8], to address: DeviceAddress) throws { try bytes.withUnsafeBytes { try device.upload($0, to: address) } }

    func download(_ address: DeviceAddress, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try device.download(address, into: $0) }
        return bytes
    }

    /// Memory of the card for as long as `body` runs, full of NaN.
    func withMemory<Result>(_ bytes: Int, _ body: (DeviceAddress) throws -> Result) throws -> Result {
        try device.withMemory(bytes: bytes) { address in
            try upload([UInt8](repeating: 0xff, count: bytes), to: address)
            return try body(address)
        }
    }
}
