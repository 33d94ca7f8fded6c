import LorikeetDelivery
import LorikeetGround
import LorikeetRecipe

/// Options of a verb that have no effect beside the others of the command. They are refused by name, for whoever gives an option expects something of it.
///
/// Keys of a recipe are another matter: a file serves several runs and verbs, so a key without effect gets a note (`Recipe.resolve`).
struct IdleOptions: Sendable {
    /// Without the dashes.
    let names: [String]
    /// Follows "has no effect ".
    let when: String
    /// Whether they have no effect beside the options given.
    let isIdle: @Sendable (GivenOptions) -> Bool

    private init(_ names: String..., when: String, isIdle: @escaping @Sendable (GivenOptions) -> Bool) {
        (self.names, self.when, self.isIdle) = (names, when, isIdle)
    }

    /// - Parameter arguments: the verb and its arguments, which have been found to be well formed.
    /// - Throws: exit 2 naming the first option without effect.
    static func refuse(_ arguments: [String]) throws {
        guard let verb = arguments.first, let rows = table[verb] else { return }
        let given = GivenOptions(arguments.dropFirst())
        guard !given.has("help") else { return }
        for row in rows where row.isIdle(given) {
            guard let name = row.names.first(where: given.has) else { continue }
            throw LorikeetError.input("--\(name) has no effect \(row.when)", fix: "leave it out")
        }
    }

    // MARK: the table

    static let table: [String: [IdleOptions]] = [
        "run": terminal, "train": terminal, "generate": records + sampling + processor(standard: "auto"), "chat": sampling + processor(standard: "auto"),
        "bench": bench + processor(standard: "cpu"), "export": export, "doctor": doctor + processor(standard: "cpu"),
    ]

    private static let terminal = [
        Self("quiet", "color", when: "with --json, which prints the summary and nothing else") { $0.isOn("json") }
    ]
    private static let records = [Self("batch-size", "answer-field", when: "without --input, the file of records to answer") { !$0.has("input") }]
    private static let sampling = [
        Self("seed", when: "at temperature 0, which always takes the likeliest token: give a temperature too, such as 0.7") {
            Double($0["temperature"] ?? "0") == 0
        }
    ]
    private static let bench = [
        Self("sequences", "prompt", "new", when: "without --decode") { !$0.has("decode") },
        Self(
            "lengths", "tokens", "seq", "lora-r", "lora-dropout", "target-modules", "gpu-memory", "fuse",
            when: "with --decode, which measures no training step"
        ) { $0.has("decode") },
        Self("tokens", "seq", when: "with --lengths, which gives the tokens of each segment") { $0.has("lengths") },
        Self("gpu-memory", "tune", when: "on the processor: name a card with --device") { ($0["device"] ?? "cpu") == "cpu" },
    ]
    private static let export = [
        Self("dtype", when: "without --form \(BitsAndBytesExport.form): a GGUF's form says its types") { !$0.forms.contains(BitsAndBytesExport.form) },
        Self("name", when: "with --form \(BitsAndBytesExport.form), whose files have fixed names") { $0.forms.contains(BitsAndBytesExport.form) },
        Self("into", when: "with --form \(GGUFAdapterExport.form) alone, which holds no base") { $0.forms == [GGUFAdapterExport.form] },
    ]
    private static let doctor = [
        Self("device", when: "as cpu with --kernels or --leaks, which check a card") { ($0.has("kernels") || $0.has("leaks")) && $0["device"] == "cpu" }
    ]

    /// - Parameter standard: the verb's device where none is named.
    private static func processor(standard: String) -> [IdleOptions] {
        @Sendable func isProcessor(_ given: GivenOptions) -> Bool {
            // These two check a card, the first where none is named.
            !given.has("kernels") && !given.has("leaks") && given["device"] ?? standard == "cpu"
        }
        return [
            Self("gpu-arch", when: "on the processor: name a card with --device", isIdle: isProcessor),
            Self("compute-type", when: "on the processor, which computes in float32") {
                isProcessor($0) && ["float16", "bfloat16"].contains($0["compute-type"] ?? "auto")
            },
        ]
    }
}

/// The options of a command as they were written.
struct GivenOptions {
    /// The last value of each; nil where the option stands alone.
    private var values: [String: String?] = [:]

    init(_ arguments: some Collection<String>) {
        var rest = Array(arguments)[...]
        while let argument = rest.popFirst() {
            if argument == "-h" { values["help"] = .some(nil) }
            guard argument.hasPrefix("--") else { continue }
            guard argument != "--" else { return }
            let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let value = parts.count == 2 ? parts[1] : rest.first.flatMap { $0.hasPrefix("--") ? nil : $0 }
            values[parts[0]] = .some(value)
        }
    }

    func has(_ name: String) -> Bool { values[name] != nil }
    subscript(name: String) -> String? { values[name] ?? nil }

    /// Whether a switch is given, and not as `--name=false`.
    func isOn(_ name: String) -> Bool { has(name) && self[name].flatMap(Recipe.switchValue) != false }

    /// The names in `--form`.
    var forms: [String] { (self["form"] ?? "").split(separator: ",").map { $0.lowercased() } }
}
