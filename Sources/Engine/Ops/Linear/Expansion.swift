import LorikeetDevices

/// Expands the matrices of a linear on a card while what stands between it and the linear runs: attention computes where expansion
/// waits for memory. Overwrites `scratch`; does nothing where the matrices are held in the activations' type.
struct Expansion: Op {
    let parts: [LinearPart]
    let columns: Int
    let scratch: ValueID

    var kind: String { "expand" }
    var reads: [ValueID] { [] }
    var writes: [ValueID] { [scratch] }
    var detail: String { parts.map(\.weight.name).joined(separator: ", ") }

    /// It reads about a quarter of what it writes.
    func cost(_ values: ValueTable) -> Cost { Cost(bytes: 1.25 * Double(values[scratch].byteCount)) }

    /// The processor expands rows right before it multiplies them: no program for it has this op.
    func run(_ context: borrowing CPURun) {}

    func run(_ context: borrowing DeviceRun) throws {
        let to = try context.address(scratch)
        if try context.held(parts) != nil { return }
        // What the closure needs, by copy: a run does not escape.
        let (weights, element, device) = (context.weights, context.element, context.device)
        try device.beside(scratch.index) { try weights.joint(parts, columns: columns, scratch: to, on: device, element) }
    }
}

/// A linear, forward or backward, whose matrices an `Expansion` before it may have expanded.
protocol Expanding: Op {
    var parts: [LinearPart] { get }
    var columns: Int { get }
    /// nil where no matrix is multiplied.
    var expanded: ValueID? { get }
    var ahead: Bool { get set }
}

/// Moves the expansion of linears that follow an attention to run beside it.
///
/// Scratch of at most 2.3 times the largest expansion waits at a time, for it is memory that nothing else can use: a block of
/// Llama's shape fits.
/// - Parameter forward: how many ops are the forward pass.
/// - Returns: the ops, and how many of them are the forward pass.
func expandingBesideAttention(_ ops: [any Op], forward: Int, _ values: ValueTable) -> (ops: [any Op], forward: Int) {
    func bytes(_ op: any Op) -> Int { (op as? any Expanding)?.expanded.map { values[$0].byteCount } ?? 0 }
    let room = (ops.map(bytes).max() ?? 0) * 23 / 10
    var result = ops
    var before: [Int: [any Op]] = [:]
    var (attention, waiting): (Int?, Int) = (nil, 0)
    for (index, op) in ops.enumerated() {
        if op is Attention || op is AttentionBackward { (attention, waiting) = (index, 0) }
        guard let start = attention, var linear = op as? any Expanding, let scratch = linear.expanded else { continue }
        guard waiting + bytes(op) <= room else {
            attention = nil
            continue
        }
        waiting += bytes(op)
        before[start, default: []].append(Expansion(parts: linear.parts, columns: linear.columns, scratch: scratch))
        linear.ahead = true
        result[index] = linear
    }
    let added = before.filter { $0.key < forward }.reduce(0) { $0 + $1.value.count }
    return (result.enumerated().flatMap { (before[$0.offset] ?? []) + [$0.element] }, forward + added)
}
