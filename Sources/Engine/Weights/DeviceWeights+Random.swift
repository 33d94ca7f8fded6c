import LorikeetGround
import LorikeetDevices
import LorikeetModelFiles

extension DeviceWeights {
    /// Random weights of the declared shapes, made on the card from one pattern: for benchmarks.
    ///
    /// - Parameter onHost: the name of the table that lies in the host's memory.
    package static func random(
        _ declarations: [WeightDeclaration], storage: BaseStorage, onHost: String?, element: DeviceElement, device: any Accelerator
    ) throws -> DeviceWeights {
        func bytes(_ onCard: Bool) -> Int {
            declarations.reduce(0) { $0 + (($1.tensor != onHost) == onCard ? Self.bytes($1, storage: storage, stored: .f32, element: element) : 0) }
        }
        let weights = try DeviceWeights(device: device, bytes: bytes(true), onHost: bytes(false))
        let pattern = (0..<(1 << 18)).map { mix64(UInt64($0)) }
        for declaration in declarations {
            let count = declaration.shape.reduce(1, *)
            let spread = 1.7 / Float(declaration.shape.last ?? 1).squareRoot()
            switch declaration.role {
            case .vector:
                let address = try weights.take(count * 4)
                try [Float](repeating: 1, count: count).withUnsafeBytes { try device.upload($0, to: address) }
                weights.set(declaration.tensor, vector: address)
            case .linear where storage == .nf4:
                let layout = NF4.Layout(count: count)
                let (codes, maxima, nested) = (try weights.take(layout.codeBytes), try weights.take(layout.blocks), try weights.take(layout.nestedBlocks * 4))
                try pattern.withUnsafeBytes { try device.fill(codes, bytes: layout.codeBytes, with: $0) }
                try pattern.withUnsafeBytes { try device.fill(maxima, bytes: layout.blocks, with: $0) }
                // Nested maxima of zero leave every block's scale to the offset.
                try device.zero(nested, bytes: layout.nestedBlocks * 4)
                weights.set(
                    declaration.tensor,
                    matrix: DeviceMatrix(
                        rows: declaration.shape[0], columns: declaration.shape[1],
                        form: .nf4(codes: codes, maxima: maxima, nestedMaxima: nested, offset: spread)))
            default:
                let floats = pattern.map { (Float($0 >> 40) / Float(1 << 23) - 1) * spread }
                var narrow = [UInt8](repeating: 0, count: floats.count * element.bytes)
                let type: ElementType = [.f32, .f16, .bf16][Int(element.rawValue)]
                _ = narrow.withUnsafeMutableBytes { to in to.baseAddress.map { encode(floats, count: floats.count, as: type, into: $0) } }
                let address = try weights.takeTable(count * element.bytes, onHost: declaration.tensor == onHost)
                try narrow.withUnsafeBytes { try device.fill(address, bytes: count * element.bytes, with: $0) }
                weights.set(
                    declaration.tensor, matrix: DeviceMatrix(rows: declaration.shape[0], columns: declaration.shape[1], form: .element(address)))
            }
        }
        try device.synchronize()
        return weights
    }
}

extension Accelerator {
    /// Writes `pattern` again and again.
    fileprivate func fill(_ address: DeviceAddress, bytes: Int, with pattern: UnsafeRawBufferPointer) throws {
        var done = min(bytes, pattern.count)
        try upload(UnsafeRawBufferPointer(rebasing: pattern[..<done]), to: address)
        while done < bytes {
            let part = min(done, bytes - done)
            try copy(address, to: address + done, bytes: part)
            done += part
        }
    }
}
