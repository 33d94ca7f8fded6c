import LorikeetDelivery
import LorikeetGround
import LorikeetRecipe

/// The forms that a run (beside `merged/`), the verb `export` or a call of the library is asked for.
struct ExportForms: Equatable {
    /// In the order in which they are named, each once.
    let gguf: [GGUFForm]
    /// The adapter as a GGUF of its own.
    let hasAdapter: Bool
    /// The directory with linears in bitsandbytes' NF4.
    let hasDirectory: Bool

    /// The form that the name `gguf` stands for: half of float16's size at a small loss of accuracy. Smaller forms cost more accuracy, so the user
    /// has to name them.
    static let standard = GGUFForm.q8_0

    /// Whether no file in `gguf/` is asked for.
    var hasNoGGUF: Bool { gguf.isEmpty && !hasAdapter }
    /// The names of the forms in `gguf/`, for the record in `files.json`.
    var words: String { (gguf.map(\.rawValue) + (hasAdapter ? [GGUFAdapterExport.form] : [])).joined(separator: ", ") }

    /// The names of all forms.
    static var names: [String] { ["gguf"] + GGUFForm.allCases.map(\.rawValue) + [GGUFAdapterExport.form, BitsAndBytesExport.form] }

    /// What the key `export` asks for.
    ///
    /// - Throws: exit 2 as the other; also for `none` beside others.
    init(_ recipe: Recipe) throws {
        let names = recipe.export.filter { $0.lowercased() != "none" }
        guard names.isEmpty || names.count == recipe.export.count else {
            throw LorikeetError.input("'none' stands beside \(names.joined(separator: ", "))", at: "export", fix: "leave none out, or write it alone")
        }
        try self.init(names, at: "export")
    }

    /// - Parameter place: what an error calls the list.
    /// - Throws: exit 2 naming a form that is not known, and the nearest that is.
    init(_ names: [String], at place: String) throws {
        var forms: [GGUFForm] = []
        let names = names.map { $0.lowercased() }
        for name in names where ![GGUFAdapterExport.form, BitsAndBytesExport.form].contains(name) {
            guard let form = name == "gguf" ? Self.standard : GGUFForm(rawValue: name) else {
                let nearest = nearestName(to: name, among: Self.names).map { "did you mean \($0)? " } ?? ""
                throw LorikeetError.input("there is no form '\(name)'", at: place, fix: nearest + "there are \(Self.names.joined(separator: ", "))")
            }
            if !forms.contains(form) { forms.append(form) }
        }
        (gguf, hasAdapter, hasDirectory) = (forms, names.contains(GGUFAdapterExport.form), names.contains(BitsAndBytesExport.form))
    }
}

/// A form of the merged model that a run writes and tests.
enum TestedForm: Equatable, Sendable {
    case gguf(GGUFForm)
    /// The directory `bnb-4bit`.
    case bitsAndBytes

    /// - Parameter name: as summary.json and the recipe have it.
    init?(name: String) {
        if name == BitsAndBytesExport.form { self = .bitsAndBytes } else if let form = GGUFForm(rawValue: name) { self = .gguf(form) } else { return nil }
    }

    var name: String {
        switch self {
        case .gguf(let form): form.rawValue
        case .bitsAndBytes: BitsAndBytesExport.form
        }
    }

    /// The folder of the run that it is in.
    var part: OutputParts.Part { if case .gguf = self { .gguf } else { .bitsAndBytes } }

    /// What the report calls it.
    var title: String {
        switch self {
        case .gguf(let form): "GGUF \(form.label)"
        case .bitsAndBytes: BitsAndBytesExport.form
        }
    }

    /// Whether it holds the merged model's weights, rounded to a float type at most.
    var isExact: Bool { if case .gguf(let form) = self { form.isExact } else { false } }

    /// Forms that lose less than this one, by their names; the smallest first.
    var formsWithMoreBits: [String] {
        func bits(_ form: GGUFForm) -> Double { Double(form.type.blockBytes * 8) / Double(form.type.blockElements) }
        let own = if case .gguf(let form) = self { bits(form) } else { 4.5 }
        return [GGUFForm.q5_K_M, .q6_K, .q8_0, .f16].filter { bits($0) > own }.map(\.rawValue)
    }

    /// By how much its loss may exceed the merged model's, where `export_tolerance` does not say it.
    var lossTolerance: Double {
        switch self {
        case .gguf(let form): form.lossTolerance
        case .bitsAndBytes: 0.5
        }
    }
}

extension GGUFForm {
    /// By how much a quantised form's loss may exceed the merged model's, where `export_tolerance` does not say it.
    var lossTolerance: Double { Self.lossTolerances[rawValue] ?? 0.01 }

    /// About twice what SmolLM2-135M, fine-tuned on text, loses by each form: docs/quantisation.md has the measurement.
    private static let lossTolerances = [
        "q8_0": 0.05, "q6_k": 0.05, "q5_k_m": 0.2, "q5_1": 0.2, "q5_0": 0.25, "q4_k_m": 0.2, "q4_0": 0.5,
    ]
}
