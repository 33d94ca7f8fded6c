/// The fusion pass: each row of the table moves the work of one op into other ops that read or write its values anyway.
///
/// The plain program has an explicit op for every step and computes the same with more passes over memory. A row is tried at every op and
/// changes the list where its pattern and conditions hold. Where it removes the op that adds a value's last term, it changes every reader
/// of that value, or none.
enum Fuse {
    /// A row of the table.
    struct Row: Sendable {
        let name: String
        /// Fuses the op at this index with others where the pattern and its conditions hold; else leaves the list as it is.
        let apply: @Sendable (inout FusedOps, Int) -> Void
    }

    /// In the order in which the rows are tried. The order matters: a row works on what the rows above it left.
    static let table: [Row] = [
        Row(name: "residual addition into the norm that follows", apply: joinAdditionAndNorm),
        Row(name: "sum of gradients into the norm's adjoint", apply: joinNormBackwardAndSum),
        Row(name: "conversion of the gradient into the norm's adjoint", apply: joinNormBackwardAndConversion),
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

    /// `add` followed by an `rmsnorm` of the sum, with no other user between: the norm computes the sum too.
    private static func joinAdditionAndNorm(_ list: inout FusedOps, _ index: Int) {
        guard let add = list.op(index) as? Add, list.values[add.b].type == list.target.residual else { return }
        guard let next = list.nextUser(of: add.out, after: index), var norm = list.op(next) as? RMSNorm,
            norm.hidden == add.out, norm.delta == nil, list.isBackward(next) == list.isBackward(index)
        else { return }
        (norm.hidden, norm.delta, norm.sum, norm.deltaScale) = (add.a, add.b, add.out, add.scale)
        list.replace(next, norm)
        list.remove(index)
    }

    /// `rmsnorm.backward` whose result is only added to another gradient: it adds that gradient itself.
    private static func joinNormBackwardAndSum(_ list: inout FusedOps, _ index: Int) {
        guard var norm = list.op(index) as? RMSNormBackward, norm.residualGradient == nil else { return }
        let readers = list.users(of: norm.dx).filter { $0 != index }
        // The other gradient has to be complete before the norm's adjoint: nothing uses it from there to the sum.
        guard readers.count == 1, let sum = list.op(readers[0]) as? Add, sum.isGradient, sum.b == norm.dx, sum.a != norm.dx,
            list.users(of: sum.a).allSatisfy({ $0 < index || $0 >= readers[0] })
        else { return }
        (norm.residualGradient, norm.dx) = (sum.a, sum.out)
        list.replace(index, norm)
        list.remove(readers[0])
    }

    /// `rmsnorm.backward` followed by a conversion of its result to the activations' type: it writes both.
    private static func joinNormBackwardAndConversion(_ list: inout FusedOps, _ index: Int) {
        guard var norm = list.op(index) as? RMSNormBackward, norm.narrow == nil,
            let next = list.nextUser(of: norm.dx, after: index), let convert = list.op(next) as? Convert
        else { return }
        (norm.narrow, norm.deltaScale) = (convert.out, convert.scale)
        list.replace(index, norm)
        list.remove(next)
    }

    // MARK: adapters

    /// The product of `up` as an argument for another op; nil on the processor and where no kernel fits the adapters' sizes.
    private static func update(_ list: FusedOps, _ up: LoRAUp) -> LowRankUpdate? {
        guard case .device(let element) = list.target, LowRankUpdate.fits(up.side.parts, columns: list.values[up.side.wide].shape[1], element) else {
            return nil
        }
        return LowRankUpdate(product: up.side.narrow, parts: up.side.parts)
    }

    /// `lora.up` followed by a rotation of the same value: the rotation adds the product first, in place.
    private static func moveUpdateIntoRotation(_ list: inout FusedOps, _ index: Int) {
        guard let up = list.op(index) as? LoRAUp, let update = update(list, up),
            let next = list.nextUser(of: up.side.wide, after: index), var rope = list.op(next) as? RoPE,
            rope.takesUpdate(pairs: list.values[rope.cos].shape[1])
        else { return }
        rope.update = update
        list.replace(next, rope)
        list.remove(index)
        list.incomplete.insert(up.side.wide)
    }

    /// `lora.up` whose result is read by gated activations and their adjoints only: all of them add the product while they read.
    ///
    /// A warp of the kernels (activation.cu) takes 32 columns of the gate and 32 of up, so the joint value has a multiple of 64.
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

    /// `lora.input_gradient` of one adapter, whose result only a gated activation's adjoint reads: it adds the product while it reads.
    ///
    /// The kernel takes 32 columns a warp, and this product as one step of its matrix instruction: rank 8 or 16.
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

    /// The inverse rotation of q's and k's gradients right after attention's adjoint, where the kernels for this shape can rotate what
    /// they write.
    private static func moveRotationIntoAttention(_ list: inout FusedOps, _ index: Int) {
        guard var attention = list.op(index) as? AttentionBackward, attention.rotationAngles == nil,
            let next = list.nextUser(of: attention.dJoint, after: index), let rope = list.op(next) as? RoPE, rope.inverse,
            !rope.interleaved,
            attention.canRotateBack(heads: rope.heads, pairs: list.values[rope.cos].shape[1], list.target)
        else { return }
        attention.rotationAngles = (rope.cos, rope.sin)
        list.replace(index, attention)
        list.remove(next)
    }

    /// The head's forward pass and its adjoint, where the token weights do not depend on the forward pass (`LossOp.knownWeights`): each
    /// chunk of logits is then computed once for both.
    private static func joinHead(_ list: inout FusedOps, _ index: Int) {
        guard let head = list.op(index) as? HeadLogProbabilities,
            let lossAt = list.nextUser(of: head.logProbabilities, after: index), let loss = list.op(lossAt) as? any LossOp,
            let weights = loss.knownWeights,
            let backwardAt = list.nextUser(of: loss.tokenWeights, after: lossAt),
            let backward = list.op(backwardAt) as? HeadGradient, backward.chunks.x == head.chunks.x
        else { return }
        list.replace(
            index, HeadGradient(chunks: head.chunks, tokenWeights: weights, logProbabilities: head.logProbabilities, dx: backward.dx))
        list.remove(backwardAt)
        list.remove(lossAt)
    }
}
