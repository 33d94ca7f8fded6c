import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// The frozen tensors of a model by name: matrices in their storage, vectors as float32.
package struct WeightTable: Sendable {
    private var matrices: [String: any WeightStore] = [:]
    private var vectors: [String: Buffer] = [:]

    package init() {}

    /// A matrix in its storage; nil for a name that is none.
    package func matrix(_ name: String) -> (any WeightStore)? { matrices[name] }

    /// The first element of a float32 vector, which lives as long as the table; nil for a name that is none.
    package func vector(_ name: String) -> UnsafePointer<Float>? {
        vectors[name].map { UnsafePointer($0.pointer(as: Float.self)) }
    }

    /// Bytes held, expansions not counted.
    package var storedBytes: Int {
        matrices.values.reduce(0) { $0 + $1.storedBytes } + vectors.values.reduce(0) { $0 + $1.byteCount }
    }

    mutating func set(_ name: String, matrix: any WeightStore) { matrices[name] = matrix }
    mutating func set(_ name: String, vector: Buffer) { vectors[name] = vector }

    /// Loads what `declarations` ask for; linears of the blocks in `storage`, embedding and head as the file has them.
    ///
    /// - Throws: exit 2 when a tensor is missing or has another shape; `Interrupted` where `cpu.interruption` says so, which is asked before each tensor.
    static func load(_ declarations: [WeightDeclaration], from source: ModelSource, storage: BaseStorage, cpu: CPU) throws -> WeightTable {
        var table = WeightTable()
        for declaration in declarations {
            try cpu.requireGoing()
            let view = try declaration.view(in: source)
            switch declaration.role {
            case .linear: table.set(declaration.tensor, matrix: try loadStore(view: view, storage: storage, cpu: cpu))
            case .table: table.set(declaration.tensor, matrix: try loadStore(view: view, storage: .stored, cpu: cpu))
            case .vector: table.set(declaration.tensor, vector: try floats(view))
            }
        }
        return table
    }

    /// A float32 copy of a one-dimensional tensor.
    static func floats(_ view: TensorView) throws -> Buffer {
        let count = view.shape.reduce(1, *)
        let buffer = try Buffer(bytes: max(4, count * 4))
        let values = buffer.pointer(as: Float.self)
        let store = try loadStore(view: view.asMatrix, storage: .f32, cpu: nil)
        store.expand(rows: 0..<store.rows, into: values)
        if view.storedOffset != 0 { for i in 0..<count { values[i] -= view.storedOffset } }
        view.giveBack(0..<view.byteCount)
        return buffer
    }
}

extension WeightTable {
    /// Random weights of the declared shapes, small enough for activations to stay finite: for benchmarks. A function of the seed, whatever the number
    /// of threads: each tensor is one sequence of numbers, of which every thread writes a part.
    static func random(_ declarations: [WeightDeclaration], storage: BaseStorage, seed: UInt64, cpu: CPU) throws -> WeightTable {
        var table = WeightTable()
        for (number, declaration) in declarations.enumerated() {
            let count = declaration.shape.reduce(1, *)
            let buffer = try Buffer(bytes: max(4, count * 4))
            let values = buffer.pointer(as: Float.self)
            if case .vector = declaration.role {
                for i in 0..<count { values[i] = 1 }
                table.set(declaration.tensor, vector: buffer)
                continue
            }
            let spread = 1.7 / Float(declaration.shape[1]).squareRoot()
            cpu.parallelRanges(over: count) { range, _ in
                var sequence = LinearCongruence(state: mix64(seed &+ UInt64(number) << 40))
                sequence.skip(range.lowerBound)
                for i in range { values[i] = (Float(sequence.next() >> 40) / Float(1 << 23) - 1) * spread }
            }
            let store = FloatStore(
                rows: declaration.shape[0], columns: declaration.shape[1],
                bytes: StoredBytes(owner: buffer, base: UnsafeRawPointer(buffer.base), count: count * 4))
            var wanted = storage
            if case .table = declaration.role { wanted = storage == .nf4 ? .bf16 : storage }
            table.set(declaration.tensor, matrix: try convert(store, to: wanted, name: declaration.tensor, cpu: cpu))
        }
        return table
    }
}

/// Knuth's linear congruential generator of 64 bits (MMIX): xₙ₊₁ = a xₙ + c modulo 2⁶⁴. Its upper bits are the random ones.
struct LinearCongruence {
    var state: UInt64
    private static let (factor, increment): (UInt64, UInt64) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407)

    mutating func next() -> UInt64 {
        state = state &* Self.factor &+ Self.increment
        return state
    }

    /// Goes on as `count` calls of `next` would, in as many steps as `count` has binary digits: two steps of (a, c) are one of (a², (a + 1) c).
    mutating func skip(_ count: Int) {
        var (factor, increment, left) = (Self.factor, Self.increment, count)
        while left > 0 {
            if left & 1 == 1 { state = state &* factor &+ increment }
            increment = (factor &+ 1) &* increment
            factor = factor &* factor
            left >>= 1
        }
    }
}

extension WeightDeclaration {
    /// The tensor in a model's file.
    ///
    /// - Throws: exit 2 when it is missing or has another shape.
    package func view(in source: ModelSource) throws -> TensorView {
        guard let view = source.tensor(tensor) else {
            throw LorikeetError.input("the model lacks the tensor '\(tensor)'", at: source.path, fix: "download the model again")
        }
        guard view.shape == shape else {
            throw LorikeetError.input(
                "the tensor '\(tensor)' has shape \(view.shape), the configuration asks for \(shape)", at: source.path,
                fix: "config.json and weights have to be of one model")
        }
        return view
    }
}
