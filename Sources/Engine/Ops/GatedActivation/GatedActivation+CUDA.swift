import LorikeetDevices

extension Activation {
    /// The kernels' number for it.
    fileprivate var number: Int32 {
        switch self {
        case .silu: 0
        case .geluTanh: 1
        case .gelu: 2
        }
    }
}

extension GatedActivation {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[out].shape
        try context.launch("activation", "gated_activation_forward", blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128) {
            $0.add(try context.address(gateUp))
            $0.add(try context.address(out))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(activation.number)
        }
    }
}

extension GatedActivationBackward {
    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[dOut].shape
        try context.launch("activation", "gated_activation_backward", blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128) {
            $0.add(try context.address(dOut))
            $0.add(try context.address(gateUp))
            $0.add(try context.address(dGateUp))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(activation.number)
        }
    }
}
