import LorikeetDevices

/// Attention of new tokens against a KV cache, for decoding and for reading prompts.
///
///     joint [T, (H+2K)·D], slot, position [T];   cache [slots, P, 2·K·D] (k then v);   out [T, H·D]
///
/// First writes each row's k and v to cache[slot, position]; then each row attends to positions 0...position of its slot
/// (the last `window` of them). Overwrites out.
struct CachedAttention: Op {
    let joint: ValueID
    let out: ValueID
    let cache: ValueID
    let slots: ValueID
    let positions: ValueID
    let maximumPositions: Int
    /// [workers, P] for one head's scores.
    let scratch: ValueID?
    let shape: AttentionShape

    var kind: String { "attention.cached" }
    var reads: [ValueID] { [joint, slots, positions, cache] }
    var writes: [ValueID] { [cache, out] + (scratch.map { [$0] } ?? []) }

    func cost(_ values: ValueTable) -> Cost {
        Cost(bytes: Double(values[joint].shape[0]) * Double(values[cache].byteCount) / Double(max(1, values[cache].shape[0])))
    }

    func run(_ context: borrowing CPURun) {
        guard let scratch else { return }
        CachedAttentionKernels.run(
            joint: context.floats(joint), slots: context.integers(slots), positions: context.integers(positions),
            cache: context.floats(cache), maximumPositions: maximumPositions, out: context.floats(out),
            scratch: context.floats(scratch), rows: context.values[joint].shape[0], shape: shape, cpu: context.cpu)
    }
}
