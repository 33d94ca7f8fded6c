/// The pass that joins ops: each row of the table moves one op's work into others that read or write its values anyway.
///
/// The plain program has an explicit op for every step and computes the same, slower. A row applies to a candidate op when its pattern
/// and conditions hold; it changes every reader of a value that then lacks a term, or nothing.
enum Fuse {
    /// One line of the table.
    struct Row: Sendable {
        let name: String
        /// Joins the op at this index with others where the pattern and its conditions hold.
        let apply: @Sendable (inout FusedOps, Int) -> Void
    }

    /// In the order in which they are tried.
    static let table: [Row] = [
        Row(name: "residual addition into the norm behind it", apply: joinAdditionAndNorm),
        Row(name: "sum of gradients into the norm's adjoint", apply: joinNormBackwardAndSum),
        Row(name: "converted gradient out of the norm's adjoint", apply: joinNormBackwardAndConversion),
        Row(name: "LoRA's second product into the rotation", apply: moveUpdateIntoRotation),
        Row(name: "LoRA's second product into the gated activation and its adjoint", apply: moveUpdateIntoActivation),
        Row(name: "LoRA's input gradient into the gated activation's adjoint", apply: moveInputGradientIntoActivation),
        Row(name: "inverse rotation into attention's adjoint", apply: moveRotationIntoAttention),
        Row(name: "both passes of the head", apply: joinHead),
    ]

    static func fuse(_ list: OpList) -> OpList {
        var fused = FusedOps(list)
        for row in table {
            for index in list.entries.indices where !fused.isRemoved(index) { row.apply(&fused, index) }
        }
        return fused.list
    }

    // MARK: residual stream

    /// `add` whose sum is next touched by an `rmsnorm`: the norm forms the sum.
    private static func joinAdditionAndNorm(_ list: inout FusedOps, _ index: Int) {
        guard let add = list.op(index) as? Add, list.values[add.b].type == list.target.residual else { return }
        guard let next = list.users(of: add.out).first(where: { $0 > index }), var norm = list.op(next) as? RMSNorm,
            norm.hidden == add.out, norm.delta == nil, list.isBackward(next) == list.isBackward(index)
        else { return }
        (norm.hidden, norm.delta, norm.sum, norm.deltaScale) = (add.a, add.b, add.out, add.scale)
        list.replace(next, norm)
        list.remove(index)
    }

    /// `rmsnorm.backward` whose result is only added to another gradient.
    private static func joinNormBackwardAndSum(_ list: inout FusedOps, _ index: Int) {
        guard var norm = list.op(index) as? RMSNormBackward, norm.residualGradient == nil else { return }
        let readers = list.users(of: norm.dx).filter { $0 != index }
        guard readers.count == 1, let sum = list.op(readers[0]) as? Add, sum.isGradient, sum.b == norm.dx, sum.a != norm.dx,
            list.users(of: sum.a).allSatisfy({ $0 < index || $0 >= readers[0] })
        else { return }
        (norm.residualGradient, norm.dx) = (sum.a, sum.out)
        list.replace(index, norm)
        list.remove(readers[0])
    }

    /// `rmsnorm.backward` whose result is also wanted in the activations' type.
    private static func joinNormBackwardAndConversion(_ list: inout FusedOps, _ index: Int) {
        guard var norm = list.op(index) as? RMSNormBackward, norm.narrow == nil,
            let next = list.users(of: norm.dx).first(where: { $0 > index }), let convert = list.op(next) as? Convert
        else { return }
        (norm.narrow, norm.deltaScale) = (convert.out, convert.scale)
        list.replace(index, norm)
        list.remove(next)
    }

    // MARK: adapters

    /// Adapters of a card whose kernels can take the second product along.
    private static func update(_ list: FusedOps, _ up: LoRAUp) -> LowRankUpdate? {
        guard case .device(let element) = list.target, LowRankUpdate.fits(up.side.parts, columns: list.values[up.side.wide].shape[1], element) else {
            return nil
        }
        return LowRankUpdate(product: up.side.narrow, parts: up.side.parts)
    }

    /// `lora.up` followed by a rotation of the same value, which completes it in place.
    private static func moveUpdateIntoRotation(_ list: inout FusedOps, _ index: Int) {
        guard let up = list.op(index) as? LoRAUp, let update = update(list, up),
            let next = list.users(of: up.side.wide).first(where: { $0 > index }), var rope = list.op(next) as? RoPE,
            rope.takesUpdate(pairs: list.values[rope.cos].shape[1])
        else { return }
        rope.update = update
        list.replace(next, rope)
        list.remove(index)
        list.incomplete.insert(up.side.wide)
    }

    /// `lora.up` whose result is read by gated activations and their adjoints alone: all of them add the term while they read.
    private static func moveUpdateIntoActivation(_ list: inout FusedOps, _ index: Int) {
        guard let up = list.op(index) as? LoRAUp, let update = update(list, up), list.values[up.side.wide].shape[1] % 64 == 0 else { return }
        let readers = list.users(of: up.side.wide).filter { $0 > index }
        guard !readers.isEmpty, readers.allSatisfy({ list.op($0) is GatedActivation || list.op($0) is GatedActivationBackward }) else {
            return
        }
        for reader in readers {
            if var forward = list.op(reader) as? GatedActivation {
                forward.update = update
                list.replace(reader, forward)
            } else if var backward = list.op(reader) as? GatedActivationBackward {
                backward.update = update
                list.replace(reader, backward)
            }
        }
        list.remove(index)
        list.incomplete.insert(up.side.wide)
    }

    /// `lora.input_gradient` of one adapter whose result only a gated activation's adjoint reads.
    private static func moveInputGradientIntoActivation(_ list: inout FusedOps, _ index: Int) {
        guard case .device(let element) = list.target, element != .f32, let gradient = list.op(index) as? LoRAInputGradient,
            gradient.side.parts.count == 1, gradient.side.masked == nil, let part = gradient.side.parts.first,
            part.slot.rank == 8 || part.slot.rank == 16, list.values[gradient.side.wide].shape[1] % 32 == 0
        else { return }
        let readers = list.users(of: gradient.side.wide).filter { $0 > index }
        guard readers.count == 1, var backward = list.op(readers[0]) as? GatedActivationBackward, backward.dOut == gradient.side.wide else { return }
        backward.dUpdate = InputUpdate(dProduct: gradient.side.narrow, part: part)
        list.replace(readers[0], backward)
        list.remove(index)
        list.incomplete.insert(gradient.side.wide)
    }

    // MARK: attention and head

    /// `rope.backward` right behind attention's adjoint, where the kernels for this shape rotate what they write.
    private static func moveRotationIntoAttention(_ list: inout FusedOps, _ index: Int) {
        guard var attention = list.op(index) as? AttentionBackward, attention.rotationAngles == nil,
            let next = list.users(of: attention.dJoint).first(where: { $0 > index }), let rope = list.op(next) as? RoPE, rope.inverse,
            !rope.interleaved,
            attention.canRotateBack(heads: rope.heads, pairs: list.values[rope.cos].shape[1], list.target)
        else { return }
        attention.rotationAngles = (rope.cos, rope.sin)
        list.replace(index, attention)
        list.remove(next)
    }

    /// The head's forward pass and adjoint, where the loss knows its weights beforehand.
    private static func joinHead(_ list: inout FusedOps, _ index: Int) {
        guard let head = list.op(index) as? HeadLogProbabilities,
            let lossAt = list.users(of: head.logProbabilities).first(where: { $0 > index }), let loss = list.op(lossAt) as? any LossOp,
            let weights = loss.knownWeights,
            let backwardAt = list.users(of: loss.tokenWeights).first(where: { $0 > lossAt }),
            let backward = list.op(backwardAt) as? HeadGradient, backward.chunks.x == head.chunks.x
        else { return }
        list.replace(
            index, HeadGradient(chunks: head.chunks, tokenWeights: weights, logProbabilities: head.logProbabilities, dx: backward.dx))
        list.remove(backwardAt)
        list.remove(lossAt)
    }
}
