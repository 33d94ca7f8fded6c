import LorikeetModelFiles

extension ModelFamily {
    /// Bytes of the weights that computing one new token reads: all but an embedding table that is not the head too.
    ///
    /// - Parameter stored: a tensor's element type in the file; float32 where it says nil.
    package func bytesPerToken(_ storage: BaseStorage, _ target: ProgramTarget, stored: (String) -> ElementType?) -> Int {
        let declared = weights()
        // The last table named is the head; tied to the embedding it is the only one.
        let head = declared.last { if case .table = $0.role { true } else { false } }?.tensor
        return declared.reduce(0) { sum, declaration in
            if case .table = declaration.role, declaration.tensor != head { return sum }
            let type = stored(declaration.tensor) ?? .f32
            if case .device(let element) = target { return sum + DeviceWeights.bytes(declaration, storage: storage, stored: type, element: element) }
            switch declaration.role {
            case .linear: return sum + storage.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
            // As `WeightTable` keeps them.
            case .table: return sum + BaseStorage.stored.bytes(rows: declaration.shape[0], columns: declaration.shape[1], stored: type)
            case .vector: return sum + declaration.shape.reduce(1, *) * 4
            }
        }
    }
}
