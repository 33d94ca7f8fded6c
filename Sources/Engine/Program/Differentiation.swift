/// Which values are computed again in the backward pass instead of being kept from the forward pass.
package struct RecomputePolicy: Sendable, Hashable {
    /// The outputs of normalisations (from their input and 1/rms, which are kept) and products of gated activations.
    package var cheap: Bool
    /// So many blocks, from the first on, keep nothing but the stream at their start; their forward pass runs again. The first, for
    /// their turn comes when the others' values are gone.
    package var blocks: Int

    package init(cheap: Bool = true, blocks: Int = 0) {
        self.cheap = cheap
        self.blocks = blocks
    }

    package static let nothing = RecomputePolicy(cheap: false)
    package static let norms = RecomputePolicy()
}

extension RecomputePolicy: RawRepresentable {
    /// `nothing`, `norms`, or `norms+12` for twelve blocks.
    package var rawValue: String { (cheap ? "norms" : "nothing") + (blocks > 0 ? "+\(blocks)" : "") }

    package init?(rawValue: String) {
        let parts = rawValue.split(separator: "+", maxSplits: 1)
        guard let first = parts.first, first == "norms" || first == "nothing" else { return nil }
        self.init(cheap: first == "norms")
        if parts.count == 2 {
            guard let blocks = Int(parts[1]), blocks > 0 else { return nil }
            self.blocks = blocks
        }
    }
}

/// Reverse-mode differentiation of a program: walks the forward ops backwards and lets each emit its own adjoint.
///
/// A value needs a gradient when a trained parameter stands somewhere above it on its path from the inputs; nothing is
/// emitted for the others, so the backward pass stops below the lowest adapter.
package struct Differentiation {
    package private(set) var values: ValueTable
    package private(set) var ops: [any Op] = []
    private let forward: [any Op]
    private let policy: RecomputePolicy
    package let target: ProgramTarget
    private let needing: Set<ValueID>
    private let producer: [ValueID: Int]
    private var gradients: [ValueID: ValueID] = [:]
    private var copies: [ValueID: ValueID] = [:]
    /// Ranges of the forward ops that `policy.blocks` counts.
    private let blocks: [Range<Int>]
    /// What a value of a block that runs again stands for.
    private var originals: [ValueID: ValueID] = [:]

    init(values: ValueTable, forward: [any Op], blocks: [Range<Int>], policy: RecomputePolicy, target: ProgramTarget) {
        self.blocks = Array(blocks.prefix(policy.blocks))
        self.target = target
        self.values = values
        self.forward = forward
        self.policy = policy
        var needing: Set<ValueID> = []
        var producer: [ValueID: Int] = [:]
        for (index, op) in forward.enumerated() {
            let trains = op.reads.contains { values[$0].kind == .parameter || needing.contains($0) }
            for id in op.writes {
                if producer[id] == nil { producer[id] = index }
                if trains { needing.insert(id) }
            }
        }
        self.needing = needing
        self.producer = producer
    }

    mutating func run() {
        var index = forward.count - 1
        while index >= 0 {
            if let block = blocks.first(where: { $0.contains(index) }) {
                runAgain(block)
                index = block.lowerBound - 1
            } else {
                differentiate(forward[index])
                index -= 1
            }
        }
    }

    private mutating func differentiate(_ op: any Op) {
        if op is HeadLoss || op.writes.contains(where: { gradient(of: $0) != nil }) { op.differentiate(&self) }
    }

    /// Emits a block's forward ops again, on values of their own, and their adjoints.
    ///
    /// The stream at the block's start is kept: its first norm wrote it. What nobody reads is not computed.
    private mutating func runAgain(_ block: Range<Int>) {
        var renamed: [ValueID: ValueID] = [:]
        var again: [any Op] = []
        for op in forward[block] {
            guard op.renamed({ $0 }) != nil else { continue }  // reads inputs alone and is kept (angles)
            let first = again.isEmpty ? op as? RMSNorm : nil
            for id in first.map({ [$0.output] }) ?? op.writes where renamed[id] == nil && values[id].kind == .transient {
                renamed[id] = values.add(values[id].name + "'", values[id].shape, values[id].type, .transient)
            }
            if let first, let copy = renamed[first.output], let norm = first.recomputation(of: first.output, into: copy) {
                again.append(norm)
            } else if let copy = op.renamed({ renamed[$0] ?? $0 }) {
                again.append(copy)
            }
        }
        for (original, copy) in renamed { originals[copy] = original }
        let start = ops.count
        // The first norm's adjoint is the original's: what it normalised is what was kept.
        for op in again.dropFirst().reversed() { differentiate(op) }
        if let first = forward[block].first(where: { $0 is RMSNorm }) { differentiate(first) }
        var wanted = Set(ops[start...].flatMap(\.reads))
        var kept: [any Op] = []
        for op in again.reversed() where op.writes.contains(where: wanted.contains) {
            wanted.formUnion(op.reads)
            kept.append(op)
        }
        ops.insert(contentsOf: kept.reversed(), at: start)
    }

    private func original(_ value: ValueID) -> ValueID { originals[value] ?? value }

    /// Does `value` depend on a trained parameter?
    package func needsGradient(_ value: ValueID) -> Bool { needing.contains(original(value)) }

    /// The gradient that later ops have left for `value`, if any.
    package func gradient(of value: ValueID) -> ValueID? { gradients[original(value)] }

    /// States that `gradient` is the whole gradient of `value` so far; the op has included what `gradient(of:)` returned.
    package mutating func setGradient(of value: ValueID, to gradient: ValueID) {
        gradients[original(value)] = gradient
    }

    /// A transient shaped and typed like `value`, named after it, for its gradient.
    package mutating func newGradient(of value: ValueID) -> ValueID {
        values.add("d.\(values[value].name)", values[value].shape, values[value].type, .transient)
    }

    package mutating func transient(_ name: String, _ shape: [Int], _ type: ValueType = .f32) -> ValueID {
        values.add(name, shape, type, .transient)
    }

    /// The flat gradient range of a parameter; backward ops add to it.
    package mutating func gradientOfParameter(_ parameter: ValueID) -> ValueID {
        if let known = gradients[parameter] { return known }
        let value = values[parameter]
        let id = values.add("d.\(value.name)", value.shape, .f32, .parameterGradient, flatOffset: value.flatOffset)
        gradients[parameter] = id
        return id
    }

    /// A forward value for a backward op to read: itself, or a copy computed again where the policy says so.
    package mutating func primal(_ value: ValueID) -> ValueID {
        guard policy.cheap, values[value].kind == .transient else { return value }
        if let copy = copies[value] { return copy }
        guard let index = producer[value] else { return value }
        let copy = values.add(values[value].name + "'", values[value].shape, values[value].type, .transient)
        guard let again = forward[index].recomputation(of: value, into: copy) else { return value }
        ops.append(again)
        copies[value] = copy
        return copy
    }

    package mutating func append(_ op: any Op) { ops.append(op) }

    /// The op emitted last, for one that can do its successor's work on the way.
    package var lastOp: (any Op)? { ops.last }

    package mutating func replaceLast(with op: any Op) {
        ops.removeLast()
        ops.append(op)
    }
}
