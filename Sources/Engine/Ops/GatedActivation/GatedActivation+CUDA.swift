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

extension DeviceRun {
    /// f(gate) * up or its adjoint, with LoRA's products added to what is read: `LoRAGated` of activation.cu.
    fileprivate func gated(
        _ kernel: String, gateUp: ValueID, dOut: ValueID?, out: ValueID, _ activation: Activation, _ update: LowRankUpdate?, _ dUpdate: InputUpdate? = nil
    ) throws {
        let (shape, parts) = (values[gateUp].shape, update?.parts ?? [])
        let columns = shape[1] / 2
        try launch("activation", kernel, blocks: ((columns + 127) / 128, (shape[0] + 127) / 128, 1), threads: 128, defines: steps(parts)) {
            for value in [gateUp, dOut, out, update?.product] { $0.add(try address(value)) }
            for b in try factors(parts) { $0.add(b) }
            for value in [dUpdate?.dProduct, dUpdate?.part.a] { $0.add(try address(value)) }
            for number in [shape[0], columns] { $0.add(Int32(number)) }
            $0.add(activation.number)
            parts.add(to: &$0, on: true)
            $0.add(parts.first?.slot.scale ?? 0)
            $0.add(Int32(dUpdate?.part.slot.rank ?? 0))
        }
    }
}

extension GatedActivation {
    /// What activation.cu is compiled with where no update is formed.
    static let plainDefines = ["STEPS=0"]

    func run(_ context: borrowing DeviceRun) throws {
        let shape = context.values[out].shape
        if let update, context.adapterOn {
            return try context.gated("lora_gated_forward", gateUp: gateUp, dOut: nil, out: out, activation, update)
        }
        try context.launch(
            "activation", "gated_activation_forward", blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128,
            defines: GatedActivation.plainDefines
        ) {
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
        if update != nil || dUpdate != nil, context.adapterOn {
            return try context.gated("lora_gated_backward", gateUp: gateUp, dOut: dOut, out: dGateUp, activation, update, dUpdate)
        }
        try context.launch(
            "activation", "gated_activation_backward", blocks: packBlocks(rows: shape[0], columns: shape[1], context.element), threads: 128,
            defines: GatedActivation.plainDefines
        ) {
            $0.add(try context.address(dOut))
            $0.add(try context.address(gateUp))
            $0.add(try context.address(dGateUp))
            $0.add(Int32(shape[0]))
            $0.add(Int32(shape[1]))
            $0.add(activation.number)
        }
    }
}
