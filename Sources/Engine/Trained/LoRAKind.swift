import LorikeetDevices
import LorikeetGround
import LorikeetModelFiles

/// LoRA (Hu et al. 2021, arXiv:2106.09685): y = x Wᵀ + scale * (dropout(x) Aᵀ) Bᵀ, with A [r, in] and B [out, r].
struct LoRAKind: TrainedKind {
    static let a = TrainedRole("lora_A")
    static let b = TrainedRole("lora_B")

    let settings: LoRASettings

    init(_ settings: LoRASettings) { self.settings = settings }

    /// - Throws: exit 2 when a target module matches no linear; the sentence names the nearest.
    func tensors(of weights: [WeightDeclaration]) throws -> [TrainedDeclaration] {
        let linears = weights.compactMap { if case .linear(let linear) = $0.role { linear } else { nil } }
        for target in settings.targetModules where target != "all-linear" {
            guard !linears.contains(where: { $0.name == target || $0.name.hasSuffix("." + target) }) else { continue }
            let known = Set(linears.map(\.shortName)).sorted()
            throw LorikeetError.input(
                "the model has no linear module '\(target)'", at: "lora.target_modules",
                fix: (nearestName(to: target, among: known).map { "did you mean '\($0)'? " } ?? "") + "it has \(known.joined(separator: ", "))")
        }
        return linears.filter { settings.matches($0.name) }.flatMap { linear in
            [
                TrainedDeclaration(
                    role: Self.a, module: linear.name, name: Self.name(Self.a, linear.name), shape: [settings.rank(of: linear.name), linear.columns]),
                TrainedDeclaration(
                    role: Self.b, module: linear.name, name: Self.name(Self.b, linear.name), shape: [linear.rows, settings.rank(of: linear.name)]),
            ]
        }
    }

    /// PEFT's start: A uniform in ±1/sqrt(in) (kaiming_uniform with a = sqrt 5), B zero.
    func initialise(_ tensor: TrainedTensor, seed: UInt64, _ values: UnsafeMutableBufferPointer<Float>) {
        guard tensor.role == Self.a else { return }
        let bound = 1 / Float(tensor.shape[1]).squareRoot()
        for i in values.indices {
            // A and B alternate in files: module n's A is tensor 2n.
            let bits = mix64(seed &+ mix64(UInt64(2 * tensor.number) << 40 | UInt64(i)))
            values[i] = (Float(bits >> 40) / Float(1 << 23) - 1) * bound
        }
    }

    func extend(_ site: TrainedSite, _ b: inout ProgramBuilder, frozen: (inout ProgramBuilder) -> ValueID) -> ValueID {
        guard case .linear(let matrices) = site.use else { return frozen(&b) }
        var parts: [LoRAPart] = []
        for matrix in matrices {
            guard let down = b.trained.tensor(Self.a, of: matrix.weight.name), let up = b.trained.tensor(Self.b, of: matrix.weight.name) else { continue }
            let module = matrix.weight.name
            parts.append(
                LoRAPart(
                    slot: LoRASlot(module: down.number, rank: settings.rank(of: module), scale: settings.scale(of: module)), a: b.parameter(down),
                    b: b.parameter(up),
                    column: parts.ranks, outputs: matrix.firstRow..<matrix.firstRow + matrix.weight.rows, dropout: Float(settings.dropout)))
        }
        guard !parts.isEmpty else { return frozen(&b) }
        let product = lowRankProduct(site.x, parts, &b)
        let y = frozen(&b)
        b.append(LoRAUp(side: LoRASideB(wide: y, narrow: product, parts: parts)), completing: y)
        return y
    }

    /// dropout(x) Aᵀ of the adapters side by side.
    private func lowRankProduct(_ x: ValueID, _ parts: [LoRAPart], _ b: inout ProgramBuilder) -> ValueID {
        let product = b.activationValue("xA", [b.tokens, parts.ranks])
        let drops = settings.dropout > 0 && b.purpose == .training
        let dropped = drops ? b.activationValue("dropped", b.values[x].shape) : nil
        b.append(
            LoRADown(side: LoRASideA(wide: x, narrow: product, parts: parts, masked: dropped, dropoutKeys: drops ? b.inputs.dropoutKeys : nil)))
        return product
    }

    /// W + scale * B A.
    func merging(_ tensor: String, _ values: TrainedValues) -> (() throws -> RowChange)? {
        guard tensor.hasSuffix(".weight") else { return nil }
        let module = String(tensor.dropLast(".weight".count))
        guard let columns = values.layout.tensor(Self.a, of: module)?.shape[1] else { return nil }
        let (rank, scale) = (settings.rank(of: module), settings.scale(of: module))
        return {
            guard let a = try values.floats(Self.a, of: module), let b = try values.floats(Self.b, of: module) else { return { _, _, _ in } }
            return { rows, weights, cpu in
                cpu.gemm(
                    m: rows.count, n: columns, k: rank, alpha: scale, a: b.pointer(as: Float.self) + rows.lowerBound * rank,
                    lda: rank, b: a.pointer(as: Float.self), ldb: columns, beta: 1, c: weights, ldc: columns)
            }
        }
    }

    // MARK: names in PEFT's files

    private static let prefix = "base_model.model."

    private static func name(_ role: TrainedRole, _ module: String) -> String { "\(prefix)\(module).\(role.name).weight" }

    /// The modules that an adapter file wraps: `model.layers.0.self_attn.q_proj`, …
    static func modules(of file: AdapterFile) -> Set<String> {
        let endings = [a, b].map { ".\($0.name).weight" }
        return Set(
            file.tensors.keys.compactMap { name in
                guard name.hasPrefix(prefix), let ending = endings.first(where: name.hasSuffix) else { return nil }
                return String(name.dropFirst(prefix.count).dropLast(ending.count))
            }
        )
    }
}
