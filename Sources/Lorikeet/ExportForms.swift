import LorikeetDelivery
import LorikeetGround
import LorikeetRecipe

/// What the key `export` asks for, beside `merged/`.
struct ExportForms: Equatable {
    /// In the order of the recipe, each once.
    let gguf: [GGUFForm]
    /// The adapter as a GGUF of its own.
    let hasAdapter: Bool

    /// The form that the name `gguf` stands for: half of float16's size at a small loss of accuracy. Smaller forms cost more accuracy, so the user
    /// has to name them.
    static let standard = GGUFForm.q8_0

    var isEmpty: Bool { gguf.isEmpty && !hasAdapter }
    /// The names of all forms, for the record in `files.json`.
    var words: String { (gguf.map(\.rawValue) + (hasAdapter ? [GGUFAdapterExport.form] : [])).joined(separator: ", ") }

    static var names: [String] { ["gguf"] + GGUFForm.allCases.map(\.rawValue) + [GGUFAdapterExport.form] }

    /// - Throws: exit 2 naming a form that is not known, and the nearest that is.
    init(_ recipe: Recipe) throws {
        var forms: [GGUFForm] = []
        let names = recipe.export.map { $0.lowercased() }.filter { $0 != "none" }
        for name in names where name != GGUFAdapterExport.form {
            guard let form = name == "gguf" ? Self.standard : GGUFForm(rawValue: name) else {
                let nearest = nearestName(to: name, among: Self.names).map { "did you mean \($0)? " } ?? ""
                throw LorikeetError.input("there is no form '\(name)'", at: "export", fix: nearest + "there are \(Self.names.joined(separator: ", "))")
            }
            if !forms.contains(form) { forms.append(form) }
        }
        (gguf, hasAdapter) = (forms, names.contains(GGUFAdapterExport.form))
    }
}

extension GGUFForm {
    /// By how much a quantised form's loss may exceed the merged model's, where `export_tolerance` does not say it.
    var lossTolerance: Double { Self.lossTolerances[rawValue] ?? 0.01 }

    /// Provisional values, to be replaced by measured ones.
    private static let lossTolerances = [
        "q8_0": 0.02, "q6_k": 0.03, "q5_k_m": 0.05, "q5_1": 0.06, "q5_0": 0.08, "q4_k_m": 0.1, "q4_0": 0.2,
    ]
}
