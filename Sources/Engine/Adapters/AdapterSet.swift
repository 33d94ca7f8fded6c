import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// Which linears get a LoRA adapter (Hu et al. 2021, arXiv:2106.09685) and how it is scaled.
package struct LoRASettings: Sendable, Equatable {
    package var r: Int
    package var alpha: Double
    /// Share of the adapter's input elements that are dropped in training.
    package var dropout: Double
    /// Endings of module names, as in PEFT: `q_proj` matches every `….q_proj`; `all-linear` every linear of the blocks.
    package var targetModules: [String]
    /// Scale alpha / sqrt(r) instead of alpha / r.
    package var useRSLoRA: Bool

    package init(r: Int = 8, alpha: Double = 16, dropout: Double = 0, targetModules: [String], useRSLoRA: Bool = false) {
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.targetModules = targetModules
        self.useRSLoRA = useRSLoRA
    }

    package var scale: Float { Float(useRSLoRA ? alpha / Double(r).squareRoot() : alpha / Double(r)) }

    func matches(_ linear: String) -> Bool {
        targetModules.contains { $0 == "all-linear" || linear == $0 || linear.hasSuffix("." + $0) }
    }
}

/// Where one linear's adapter stands in the flat buffers.
package struct AdapterSlot: Sendable, Equatable {
    /// Number of the module in forward order: names its dropout mask.
    package let module: Int
    package let rank: Int
    package let scale: Float
    /// First element of A [r, in] and of B [out, r].
    package let offsetA: Int
    package let offsetB: Int
}

/// The adapters of a model: a slot for each adapted linear, in forward order (q before v, layers in order).
package struct AdapterLayout: Sendable {
    package private(set) var slots: [String: AdapterSlot] = [:]
    package private(set) var entries: [Entry] = []
    package private(set) var elementCount = 0
    package let dropout: Float

    /// One trained matrix in PEFT's naming.
    package struct Entry: Sendable, Equatable {
        /// e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`
        package let name: String
        package let shape: [Int]
        package let offset: Int
        package var elementCount: Int { shape[0] * shape[1] }
    }

    package static let none = AdapterLayout(dropout: 0)

    private init(dropout: Float) { self.dropout = dropout }

    /// - Throws: exit 2 when a target module matches no linear; the sentence names the nearest.
    package init(_ settings: LoRASettings, linears: [LinearWeight]) throws {
        dropout = Float(settings.dropout)
        for target in settings.targetModules where target != "all-linear" {
            guard !linears.contains(where: { $0.name == target || $0.name.hasSuffix("." + target) }) else { continue }
            let known = Set(linears.map(\.shortName)).sorted()
            let nearest = nearestName(to: target, among: known)
            throw LorikeetError.input(
                "the model has no linear module '\(target)'", at: "lora.target_modules",
                mend: (nearest.map { "did you mean '\($0)'? " } ?? "") + "it has \(known.joined(separator: ", "))")
        }
        let chosen = linears.filter { settings.matches($0.name) }
        // All A before all B: those of linears side by side (q, k, v) are one matrix then.
        var (offsetA, offsetB) = (0, chosen.reduce(0) { $0 + settings.r * $1.columns })
        for linear in chosen {
            let a = Entry(name: "base_model.model.\(linear.name).lora_A.weight", shape: [settings.r, linear.columns], offset: offsetA)
            let b = Entry(name: "base_model.model.\(linear.name).lora_B.weight", shape: [linear.rows, settings.r], offset: offsetB)
            slots[linear.name] = AdapterSlot(
                module: slots.count, rank: settings.r, scale: settings.scale, offsetA: a.offset, offsetB: b.offset)
            entries += [a, b]
            offsetA += a.elementCount
            offsetB += b.elementCount
        }
        elementCount = offsetB
    }

    /// - Throws: exit 2 where a PEFT folder lacks one of these matrices, has another shape for it, or has more.
    package func requireFit(_ file: AdapterFile) throws {
        if let other = Set(file.tensors.keys).subtracting(entries.map(\.name)).min() {
            throw LorikeetError.input(
                "the adapter's '\(other)' has no place here", at: file.path, mend: "use a model of its base, and all of its target modules")
        }
        let mend = "use an adapter of the same rank and target modules"
        for entry in entries {
            guard let view = file.tensors[entry.name] else { throw LorikeetError.input("the adapter lacks '\(entry.name)'", at: file.path, mend: mend) }
            guard view.shape == entry.shape else {
                throw LorikeetError.input("the adapter's '\(entry.name)' has shape \(view.shape), not \(entry.shape)", at: file.path, mend: mend)
            }
        }
    }
}

/// The host's copy of what training changes: the persistent values of the step program by name, all in `layout`'s order.
package final class AdapterSet: Sendable {
    package let layout: AdapterLayout
    /// Names, shapes and types of the persistent values; the programs' own list.
    package let program: Program
    package let optimiser: any Optimiser.Type
    private let buffers: [String: Buffer]

    package var entries: [AdapterLayout.Entry] { layout.entries }
    package var elementCount: Int { layout.elementCount }

    package init(layout: AdapterLayout, optimiser: any Optimiser.Type = AdamWSettings.self) throws {
        self.layout = layout
        self.optimiser = optimiser
        program = StepProgram.build(count: layout.elementCount, optimiser: optimiser, target: .cpu(threads: 1))
        buffers = try Dictionary(uniqueKeysWithValues: program.persistentValues.map { ($0.name, try Buffer(bytes: max(4, $0.byteCount))) })
        state = StepState()
    }

    /// The buffer of a persistent value of the step program.
    package func buffer(_ name: String) -> Buffer? { buffers[name] }

    /// The numbers of a persistent float32 value; empty where there is none of that name.
    package func floats(named name: String) -> UnsafeMutableBufferPointer<Float> {
        guard let buffer = buffers[name], let value = program.persistentValues.first(where: { $0.name == name }) else {
            return UnsafeMutableBufferPointer(start: nil, count: 0)
        }
        return UnsafeMutableBufferPointer(start: buffer.pointer(as: Float.self), count: value.elementCount)
    }

    package enum Part: Sendable { case values, gradients }

    package func floats(_ part: Part) -> UnsafeMutableBufferPointer<Float> {
        floats(named: part == .values ? PersistentName.parameters : PersistentName.gradients)
    }

    package var state: StepState {
        get { StepState(Array(floats(named: PersistentName.state))) }
        set { for (i, number) in newValue.numbers.enumerated() { floats(named: PersistentName.state)[i] = number } }
    }

    /// PEFT's start: A uniform in ±1/sqrt(in) (kaiming_uniform with a = sqrt 5), B zero. A function of the seed alone.
    package func initialise(seed: UInt64) {
        let values = floats(.values)
        values.update(repeating: 0)
        for (index, entry) in entries.enumerated() where entry.name.hasSuffix("lora_A.weight") {
            let bound = 1 / Float(entry.shape[1]).squareRoot()
            for i in 0..<entry.elementCount {
                let bits = mix64(seed &+ mix64(UInt64(index) << 40 | UInt64(i)))
                values[entry.offset + i] = (Float(bits >> 40) / Float(1 << 23) - 1) * bound
            }
        }
    }

    /// Reads values from a PEFT folder; every matrix has to be there with its shape.
    package func load(_ file: AdapterFile) throws {
        try layout.requireFit(file)
        let values = floats(.values)
        for entry in entries {
            guard let view = file.tensors[entry.name] else { continue }
            let store = try loadStore(view: view, storage: .f32, cpu: nil)
            guard let to = values.baseAddress else { continue }
            store.expand(rows: 0..<store.rows, into: to + entry.offset)
        }
    }
}
