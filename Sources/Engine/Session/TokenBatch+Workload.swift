extension TokenBatch {
    /// Rows of each segment, in order.
    package var segmentLengths: [Int] {
        let starts = segmentStart.indices.filter { segmentStart[$0] == Int32($0) }
        return zip(starts, starts.dropFirst() + [rows]).map { $1 - $0 }
    }

    /// Positions of each row's whole sequence (see `longestSequence`).
    var sequenceLengths: [Int32] {
        segmentLengths.flatMap { Array(repeating: Int32(clamping: longestSequence ?? $0), count: $0) }
    }

    /// What a program does with this batch: its segments, its targets, and how `model` holds its weights.
    package func workload(on model: Model) -> Workload {
        var load = Workload(segments: SegmentLengths(segmentLengths), trainedShare: Double(trainedRows) / Double(max(1, rows)))
        for linear in model.family.linears() {
            let tensor = linear.name + ".weight"
            load.storedBytes[tensor] = model.storedBytes(tensor)
        }
        return load
    }
}

extension Model {
    /// Bytes of a matrix that is not stored in the activations' type; nil for others.
    fileprivate func storedBytes(_ tensor: String) -> Int? {
        if let placed {
            guard let matrix = placed.weights.matrices[tensor] else { return nil }
            switch matrix.form {
            case .element: return nil
            case .nf4: return BaseStorage.nf4.bytes(rows: matrix.rows, columns: matrix.columns, stored: .f32)
            case .blocks(_, let format): return matrix.rows * matrix.columns / format.blockElements * format.blockBytes
            }
        }
        guard let store = weights.matrix(tensor), store.directFloats == nil else { return nil }
        return store.storedBytes
    }
}
