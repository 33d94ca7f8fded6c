import LorikeetDevices

/// Attention of new tokens against a KV cache, for decoding and for reading prompts.
///
///     joint [T, (H+2K)·D], slot, position [T];   cache [slots, P, 2·K·D] (k then v);   out [T, H·D]
///
/// First writes each row's k and v to cache[slot, position]; then each row attends to positions 0...position of its slot
/// (the last `window` of them). Overwrites out.
struct CachedAttention: Op {
    var joint: ValueID
    var out: ValueID
    var cache: ValueID
    var slots: ValueID
    var positions: ValueID
    let maximumPositions: Int
    /// [workers, P] for one head's scores.
    var scratch: ValueID?
    let shape: AttentionShape

    var kind: String { "attention.cached" }
    var reads: [ValueID] { [joint, slots, positions, cache] }
    var writes: [ValueID] { [cache, out] + (scratch.map { [$0] } ?? []) }

    /// As if each row's slot were full.
    func work(_ context: WorkContext) -> [Work] {
        let slots = context.values[cache].shape[0]
        let moved = Double(context.values[joint].shape[0]) * context.bytes(cache) / Double(max(1, slots))
        // Half full on the average, while sequences grow.
        return [.bytes(moved), .cachedBytes(moved / 2 * Double(shape.heads) / Double(max(1, shape.keyValueHeads))), .launches(1)]
    }

    mutating func rename(_ name: Renaming) {
        name(&joint)
        name(&out)
        name(&cache)
        name(&slots)
        name(&positions)
        name(&scratch)
    }

    func check(_ operands: inout OperandCheck) {
        let tokens = operands.shape(joint)[0]
        operands.expect(joint, "joint", [tokens, shape.jointColumns], .activation)
        operands.expect(out, "out", [tokens, shape.heads * shape.headDimension], .activation)
        operands.expect(cache, "cache", [operands.shape(cache)[0], maximumPositions, 2 * shape.keyValueHeads * shape.headDimension], .activation)
        operands.expect(slots, "slots", [tokens], .i32)
        operands.expect(positions, "positions", [tokens], .i32)
        operands.expect(scratch, "scratch", nil, .f32)
    }

    func run(_ context: borrowing CPURun) throws {
        CachedAttentionKernels.run(
            joint: try context.floats(joint), slots: try context.integers(slots), positions: try context.integers(positions),
            cache: try context.floats(cache), maximumPositions: maximumPositions, out: try context.floats(out),
            scratch: try context.floats(scratch, "attention's scratch"), rows: context.values[joint].shape[0], shape: shape, cpu: context.cpu)
    }
}
