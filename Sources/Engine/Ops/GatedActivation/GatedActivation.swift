import LorikeetDevices

/// The gate's function.
package enum Activation: String, Sendable {
    case silu
    case geluTanh = "gelu_pytorch_tanh"
    case gelu
}

/// out [T, F] = f(gate) * up, gate and up the halves of the joint [T, 2F] buffer (Shazeer 2020, arXiv:2002.05202). Overwrites out.
struct GatedActivation: Op {
    var gateUp: ValueID
    var out: ValueID
    let activation: Activation
    /// LoRA's second product, which gateUp lacks and keeps lacking: added while gateUp is read (see the fusion table).
    var update: LowRankUpdate?

    var kind: String { "gated_activation" }
    var reads: [ValueID] { [gateUp] + (update?.reads ?? []) }
    var writes: [ValueID] { [out] }
    var supplies: [ValueID] { update == nil ? [] : [gateUp] }
    var detail: String { activation.rawValue }

    mutating func rename(_ name: Renaming) {
        name(&gateUp)
        name(&out)
        update?.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(out)
        operands.expect(gateUp, "gate|up", [shape[0], 2 * shape[1]], .activation)
        operands.expect(out, "out", nil, .activation)
    }

    func work(_ context: WorkContext) -> [Work] {
        context.kernel(moving: context.bytes(gateUp) + context.bytes(out)) + (update?.parts.products(rows: context.values[out].shape[0]) ?? [])
    }

    func recomputation(of value: ValueID, into copy: ValueID) -> (any Op)? {
        value == out ? GatedActivation(gateUp: gateUp, out: copy, activation: activation, update: update) : nil
    }

    /// dgate = dout * up * f'(gate),  dup = dout * f(gate).
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(gateUp), let dOut = backward.gradient(of: out) else { return }
        let dGateUp = backward.newGradient(of: gateUp)
        backward.append(GatedActivationBackward(dOut: dOut, gateUp: gateUp, dGateUp: dGateUp, activation: activation))
        backward.contribute(dGateUp, to: gateUp)
    }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[out].shape
        GatedActivationKernels.forward(
            gateUp: try context.floats(gateUp), out: try context.floats(out), rows: shape[0], columns: shape[1], activation: activation,
            cpu: context.cpu)
    }
}

/// See `GatedActivation.differentiate`. Overwrites dGateUp [T, 2F].
struct GatedActivationBackward: Op {
    var dOut: ValueID
    var gateUp: ValueID
    var dGateUp: ValueID
    let activation: Activation
    /// LoRA's second product, which gateUp lacks.
    var update: LowRankUpdate?
    /// The share of the next linear's adapter, which dOut lacks.
    var dUpdate: InputUpdate?

    var kind: String { "gated_activation.backward" }
    var reads: [ValueID] { [dOut, gateUp] + (update?.reads ?? []) + (dUpdate?.reads ?? []) }
    var writes: [ValueID] { [dGateUp] }
    var supplies: [ValueID] { (update == nil ? [] : [gateUp]) + (dUpdate == nil ? [] : [dOut]) }

    mutating func rename(_ name: Renaming) {
        name(&dOut)
        name(&gateUp)
        name(&dGateUp)
        update?.rename(name)
        dUpdate?.rename(name)
    }

    func check(_ operands: inout OperandCheck) {
        let shape = operands.shape(dOut)
        operands.expect(dOut, "dout", nil, .activation)
        operands.expect(gateUp, "gate|up", [shape[0], 2 * shape[1]], .activation)
        operands.expect(dGateUp, "dgate|dup", [shape[0], 2 * shape[1]], .activation)
    }

    func work(_ context: WorkContext) -> [Work] {
        let shape = context.values[dOut].shape
        return context.kernel(moving: 2 * context.bytes(gateUp) + context.bytes(dOut)) + (update?.parts.products(rows: shape[0]) ?? [])
            + (dUpdate.map { [.product(m: shape[0], n: shape[1], k: $0.part.slot.rank)] } ?? [])
    }

    func run(_ context: borrowing CPURun) throws {
        let shape = context.values[dOut].shape
        GatedActivationKernels.backward(
            dOut: try context.floats(dOut), gateUp: try context.floats(gateUp), dGateUp: try context.floats(dGateUp), rows: shape[0],
            columns: shape[1], activation: activation, cpu: context.cpu)
    }
}
