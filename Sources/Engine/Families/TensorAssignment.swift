import Glibc
import LorikeetGround
import LorikeetModelFiles

/// Finds each tensor of a family's forward pass in a model's files, and what is left over there.
struct TensorAssignment {
    let files: ModelFiles
    let configuration: ModelConfiguration
    /// The file format's names; nil where it has the family's own.
    let names: TensorNames?
    /// The files' tensors that something uses.
    private(set) var used: Set<String>
    private let declarations: [WeightDeclaration]

    init(files: ModelFiles, configuration: ModelConfiguration, names: TensorNames?, used: Set<String>) {
        self.files = files
        self.configuration = configuration
        self.names = names
        self.used = used
        declarations = configuration.weights
    }

    /// A declared tensor, and where it stands.
    private struct Wanted {
        let declaration: WeightDeclaration
        let place: TensorNames.Place
    }

    /// Every declared tensor by its name.
    ///
    /// - Throws: exit 2 naming a tensor that is missing, has another shape, or is of a type no weight can have.
    mutating func assign() throws -> [String: TensorView] {
        // By the files' names: a fused matrix holds several.
        var (order, wanted): ([String], [String: [Wanted]]) = ([], [:])
        for declaration in declarations {
            let own = TensorNames.Place(name: declaration.tensor, rule: 0, transform: .none)
            guard let place = names.map({ $0.inFile(declaration.tensor) }) ?? own else { throw missing(declaration.tensor) }
            if wanted[place.name] == nil { order.append(place.name) }
            wanted[place.name, default: []].append(Wanted(declaration: declaration, place: place))
        }
        var result: [String: TensorView] = [:]
        for name in order {
            guard let view = files.tensors[name] else { throw missing(name) }
            used.insert(name)
            for part in try parts(of: view, (wanted[name] ?? []).sorted { $0.place.rule < $1.place.rule }) { result[part.name] = part }
        }
        return result
    }

    /// The family's tensors in one of the file's.
    private func parts(of view: TensorView, _ wanted: [Wanted]) throws -> [TensorView] {
        let shape = wanted[0].declaration.shape
        let rows = wanted.reduce(0) { $0 + ($1.declaration.shape.first ?? 0) }
        guard view.shape == [rows] + shape.dropFirst(), wanted.allSatisfy({ $0.declaration.shape.dropFirst() == shape.dropFirst() }) else {
            throw LorikeetError.input(
                "the tensor '\(view.name)' has shape \(view.shape), the configuration asks for \([rows] + shape.dropFirst())", at: files.path,
                fix: "configuration and weights have to be of one model")
        }
        var first = 0
        return try wanted.map { wanted in
            let rows = wanted.declaration.shape[0]
            defer { first += rows }
            let part = try part(of: view, first..<first + rows, wanted)
            _ = try StoredMatrix(part.asMatrix)
            return part
        }
    }

    private func part(of view: TensorView, _ rows: Range<Int>, _ wanted: Wanted) throws -> TensorView {
        let name = wanted.declaration.tensor
        switch wanted.place.transform {
        case .none: return view.part(name, rows: rows)
        case .plus(let number):
            guard case .vector = wanted.declaration.role else {
                throw LorikeetError.machine("'\(name)' is no vector and cannot be stored with an offset", fix: "report this")
            }
            return view.part(name, rows: rows, storedOffset: number)
        case .interleavedHeads(let key):
            guard let heads = configuration.values[key]?.int, heads > 0, rows.count % (2 * heads) == 0 else {
                throw LorikeetError.input(
                    "the rows of '\(view.name)' do not divide into the heads of \(key)", at: files.path,
                    fix: "configuration and weights have to be of one model; download it again")
            }
            return view.part(name, rows: rows, rowPermutation: RowPermutation(heads: heads))
        }
    }

    private func missing(_ name: String) -> LorikeetError {
        let (what, fix) =
            hint(files.names) ?? prefixHint(name)
            ?? (
                "the model lacks the tensor '\(name)'",
                name == fileName(Self.head)
                    ? "if the head is the embedding, config.json has to say \"tie_word_embeddings\": true; otherwise download the model again"
                    : "configuration and weights have to be of one model; download it again"
            )
        return .input(what, at: files.path, fix: fix)
    }

    // MARK: what is left over

    /// - Returns: warnings that name the parts of the model that are not used.
    /// - Throws: exit 2 naming the first tensor that nothing uses and no list ignores.
    func judgeLeftOver(ignored: [Ignored]) throws -> [String] {
        let parts = (configuration.part?.otherParts ?? []) + [.multiTokenPrediction]
        var unused: [String: (first: String, count: Int)] = [:]
        for name in files.names where !used.contains(name) && !ignored.contains(where: { $0.names(tensor: name) }) {
            if let part = parts.first(where: { $0.has(name) }) {
                let known = unused[part.name] ?? (name, 0)
                unused[part.name] = (known.first, known.count + 1)
            } else if name == fileName(Self.head), !declarations.contains(where: { $0.tensor == Self.head }) {
                try checkTiedHead()
            } else {
                throw leftOver(name)
            }
        }
        return parts.compactMap { part in
            unused[part.name].map { "\(files.path): \($0.count) tensors of \(part.name) are not used ('\($0.first)' …): \(part.reason)" }
        }
    }

    /// A family's name of a tensor as the files have it.
    private func fileName(_ name: String) -> String { names?.inFile(name)?.name ?? name }

    private func leftOver(_ name: String) -> LorikeetError {
        let (what, fix) =
            hint([name])
            ?? (
                "the tensor '\(name)' has no place in a model of this configuration",
                name.hasSuffix(".bias")
                    ? "if the model has biases, its configuration has to say so (attention_bias, mlp_bias); otherwise remove the tensor"
                    : "configuration and weights have to be of one model that is supported"
            )
        return .input(what, at: files.path, fix: fix)
    }

    private static let head = "lm_head.weight"

    /// The file may contain a head that the configuration ties to the embedding, as a copy of it.
    private func checkTiedHead() throws {
        let embedding = declarations.first { if case .table = $0.role { true } else { false } }?.tensor
        guard let head = files.tensors[fileName(Self.head)], let embedding, let table = files.tensors[fileName(embedding)] else { return }
        // Without the contents only their form can be compared; whoever loads the model compares them.
        let same = head.shape == table.shape && head.type == table.type && (!head.isAtHand || !table.isAtHand || sameBytes(head, table))
        guard same else {
            throw LorikeetError.input(
                "the tensor 'lm_head.weight' differs from '\(embedding)' though tie_word_embeddings is true", at: files.path,
                fix: "say \"tie_word_embeddings\": false in config.json, or remove the tensor")
        }
    }

    private func sameBytes(_ a: TensorView, _ b: TensorView) -> Bool {
        guard a.byteCount == b.byteCount, let first = a.bytes.baseAddress, let second = b.bytes.baseAddress else { return a.byteCount == b.byteCount }
        // A piece at a time: the two may be gigabytes, which would stay in memory for a run that reads them otherwise.
        let piece = 16 << 20
        return stride(from: 0, to: a.byteCount, by: piece).allSatisfy { start in
            let range = start..<min(a.byteCount, start + piece)
            defer { for view in [a, b] { view.giveBack(range) } }
            return memcmp(first + start, second + start, range.count) == 0
        }
    }

    /// Modules that training programs put around a model or its parts, and that belong in no model's file.
    private static let wrappers: [(prefix: String, what: String)] = [
        ("_orig_mod.", "a compiled module"), ("_fsdp_wrapped_module.", "a module of fully sharded training"),
        ("_checkpoint_wrapped_module.", "a module of activation checkpointing"), ("_forward_module.", "a training program's module"),
        ("module.", "a module of distributed training"), ("base_layer.", "a model with adapters"), ("modules_to_save.", "a model with adapters"),
    ]

    /// Where every name of the file begins with something that the family's names do not: what wraps the model.
    private func prefixHint(_ name: String) -> (what: String, fix: String)? {
        guard let found = files.names.first(where: { $0.hasSuffix("." + name) }) else { return nil }
        let prefix = String(found.dropLast(name.count))
        let inner = prefix == "base_model.model." ? "a PEFT model" : "a larger model"
        return (
            "the tensors' names begin with '\(prefix)', as those of \(inner) do ('\(found)')",
            "save the model itself, without '\(prefix)' in its tensors' names; of a larger model the configuration's model_type has to be supported"
        )
    }

    /// What names say of files that are not a plain model.
    private func hint(_ names: [String]) -> (what: String, fix: String)? {
        func any(_ matches: (String) -> Bool) -> String? { names.first(where: matches) }
        for wrapper in Self.wrappers {
            guard let name = any({ $0.hasPrefix(wrapper.prefix) || $0.contains("." + wrapper.prefix) }) else { continue }
            return ("the tensors are those of \(wrapper.what) ('\(name)')", "save the model itself, without '\(wrapper.prefix)' in its tensors' names")
        }
        if let name = any({ $0.contains(".quant_state.") || $0.hasSuffix(".absmax") || $0.hasSuffix(".quant_map") }) {
            return (
                "'\(name)' belongs to a weight quantised with bitsandbytes whose other tensors (weight, quant_state) are missing",
                "download the model again, or give it in float16, bfloat16 or float32"
            )
        }
        if let name = any({ $0.contains(".lora_A.") || $0.contains(".lora_B.") }) {
            return ("the directory holds an adapter's tensors ('\(name)')", "name the base model, and the adapter as --adapter")
        }
        return nil
    }
}
