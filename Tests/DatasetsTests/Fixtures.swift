import LorikeetDevices
import LorikeetGround
import LorikeetTokenizers
import MemoryFiles

@testable import LorikeetDatasets

/// A dataset with its samples read.
struct LoadedData {
    let dataset: Dataset
    let train: [TokenSample]
    let validation: [TokenSample]
    let heldOut: [HeldOutRow]
    var report: DataReport { dataset.report }

    init(_ dataset: Dataset) throws {
        self.dataset = dataset
        (train, validation, heldOut) = try (dataset.train.all(), dataset.validation.all(), dataset.heldOut.all())
    }

    func preview(rows: Int, tokenizer: Tokenizer) throws -> [SamplePreview] { try dataset.preview(.first(rows), tokenizer: tokenizer) }
}

enum Small {
    /// One token a character (printable ASCII, space, newline), and the special ones.
    ///
    /// - Parameter special: BOS, the end of a turn, and further ones.
    static func tokenizer(
        special: [String] = ["<s>", "<|im_end|>", "<|im_start|>"], addsBOS: Bool = false, eos: Bool = true
    ) throws -> Tokenizer {
        // GPT-2's alphabet writes a newline as Ċ and a space as Ġ.
        let characters = ["Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        var names = TokenNames(bos: 0, eos: eos ? 1 : nil)
        if addsBOS { names.prefix = [0] }
        return try Tokenizer(
            vocabulary: special + characters, merges: [], rules: TokenizerRules(.byteLevel(.gpt2)),
            added: special.enumerated().map { AddedToken(id: Int32($0.offset), text: $0.element, isSpecial: true) }, names: names)
    }

    static let chatML = """
        {%- for message in messages -%}
        {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
        {%- endfor -%}
        {%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
        """

    static func load(
        _ lines: [String], template: String? = chatML, tokenizer: Tokenizer? = nil, threads: Int = 2,
        _ change: (inout DatasetSettings) -> Void = { _ in }
    ) throws -> LoadedData {
        try load(files: ["data.jsonl": lines.joined(separator: "\n") + "\n"], template: template, tokenizer: tokenizer, threads: threads, change)
    }

    static func load(
        files: [String: String], data: String = "data.jsonl", template: String? = chatML, tokenizer: Tokenizer? = nil, threads: Int = 2,
        _ change: (inout DatasetSettings) -> Void = { _ in }
    ) throws -> LoadedData {
        var settings = DatasetSettings(data: data)
        change(&settings)
        let tokenizer = try tokenizer ?? Small.tokenizer()
        let template = try template.map { try ChatTemplate($0, name: "template", specialTokens: tokenizer.namedTokens) }
        return try LoadedData(
            Dataset.load(settings, tokenizer: tokenizer, template: template, files: MemoryFiles(texts: files), cpu: CPU(threads: threads)))
    }

    /// The trained stretches of a sample as text.
    static func trainedTexts(_ sample: TokenSample, tokenizer: Tokenizer? = nil) throws -> [String] {
        let tokenizer = try tokenizer ?? Small.tokenizer()
        var stretches: [[Int32]] = []
        var open = false
        for (id, trained) in zip(sample.ids, sample.trained) {
            if trained, !open { stretches.append([]) }
            if trained { stretches[stretches.count - 1].append(id) }
            open = trained
        }
        return stretches.map { tokenizer.decode($0) }
    }

    static func text(_ ids: some Sequence<Int32>) throws -> String { try tokenizer().decode(ids) }

    static func alpaca(_ count: Int, output: (Int) -> String = { "a\($0)" }) -> [String] {
        (0..<count).map { #"{"instruction": "q\#($0)", "input": "", "output": "\#(output($0))"}"# }
    }
}

/// The error of `body`, which has to be one of ours.
func failure(_ body: () throws -> some Any) -> LorikeetError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error as? LorikeetError
    }
}
