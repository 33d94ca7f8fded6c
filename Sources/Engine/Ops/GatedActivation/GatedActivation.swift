import LorikeetDevices

/// The gate's function.
package enum Activation: String, Sendable {
    case silu
    case geluTanh = "gelu_pytorch_tanh"
    case gelu
}

/// out [T, F] = f(gate) * up, gate and up the halves of the joint [T, 2F] buffer (Shazeer 2020, arXiv:2002.05202). Overwrites out.
struct GatedActivation: Op {
    let gateUp: ValueID
    let out: ValueID
    let activation: Activation
    /// On a card: what the linear before has left to add to gate and up; gateUp stays without it.
    var update: LowRankUpdate?

    var kind: String { "gated_activation" }
    var reads: [ValueID] { [gateUp] + (update?.reads ?? []) }
    var writes: [ValueID] { [out] }
    var detail: String { activation.rawValue }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(values[gateUp].byteCount + values[out].byteCount)) }

    func recomputation(of value: ValueID, into copy: ValueID) -> (any Op)? {
        value == out ? GatedActivation(gateUp: gateUp, out: copy, activation: activation, update: update) : nil
    }

    func renamed(_ name: (ValueID) -> ValueID) -> (any Op)? {
        GatedActivation(gateUp: name(gateUp), out: name(out), activation: activation, update: update?.renamed(name))
    }

    /// dgate = dout * up * f'(gate),  dup = dout * f(gate).
    func differentiate(_ backward: inout Differentiation) {
        guard backward.needsGradient(gateUp), let dOut = backward.gradient(of: out) else { return }
        let dGateUp = backward.newGradient(of: gateUp)
        let dUpdate = backward.values[dOut].shape[1] % 32 == 0 ? InputUpdate.take(of: dOut, &backward) : nil
        backward.append(
            GatedActivationBackward(dOut: dOut, gateUp: gateUp, dGateUp: dGateUp, activation: activation, update: update, dUpdate: dUpdate))
        backward.setGradient(of: gateUp, to: dGateUp)
    }

    func run(_ context: borrowing CPURun) {
        let shape = context.values[out].shape
        GatedActivationKernels.forward(
            gateUp: context.floats(gateUp), out: context.floats(out), rows: shape[0], columns: shape[1], activation: activation,
            cpu: context.cpu)
    }
}

/// See `GatedActivation.differentiate`. Overwrites dGateUp [T, 2F].
struct GatedActivationBackward: Op {
    let dOut: ValueID
    let gateUp: ValueID
    let dGateUp: ValueID
    let activation: Activation
    /// What gateUp lacks, and what dOut lacks.
    var update: LowRankUpdate?
    var dUpdate: InputUpdate?

    var kind: String { "gated_activation.backward" }
    var reads: [ValueID] { [dOut, gateUp] + (update?.reads ?? []) + (dUpdate?.reads ?? []) }
    var writes: [ValueID] { [dGateUp] }

    func cost(_ values: ValueTable) -> Cost { Cost(bytes: Double(2 * values[gateUp].byteCount + values[dOut].byteCount)) }

    func run(_ context: borrowing CPURun) {
        let shape = context.values[dOut].shape
        GatedActivationKernels.backward(
            dOut: context.floats(dOut), gateUp: context.floats(gateUp), dGateUp: context.floats(dGateUp), rows: shape[0],
            columns: shape[1], activation: activation, cpu: context.cpu)
    }
}
