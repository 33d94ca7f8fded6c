import LorikeetDatasets
import LorikeetDevices
import LorikeetTokenizers
import MemoryFiles

extension FuzzTarget {
    private static let cpu = CPU(threads: 1)
    /// One token a character of ASCII.
    private static let tokenizer: Tokenizer? = {
        let vocabulary = ["<s>", "<|im_end|>", "<|im_start|>", "Ċ", "Ġ"] + (33...126).map { String(UnicodeScalar(UInt8($0))) }
        let special = (0..<3).map { AddedToken(id: Int32($0), text: vocabulary[$0], isSpecial: true) }
        return try? Tokenizer(
            vocabulary: vocabulary, merges: [], rules: TokenizerRules(.byteLevel(.gpt2)), added: special, names: TokenNames(bos: 0, eos: 1))
    }()
    private static let chat = try? ChatTemplate(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        name: "template", specialTokens: [:])

    /// The data of a run in a file of one of these endings; the input's first byte says which.
    private static func data(_ name: String, endings: [String]) -> FuzzTarget {
        FuzzTarget(name: name) { bytes in
            guard let first = bytes.first, let tokenizer, let chat else { return }
            let path = "data." + endings[Int(first) % endings.count]
            let disk = MemoryFiles(path, UnsafeRawBufferPointer(rebasing: bytes.dropFirst()))
            var settings = DatasetSettings(data: path)
            (settings.maxBadRecords, settings.validationShare) = (0.9, 0.2)
            let dataset = try Dataset.load(settings, tokenizer: tokenizer, template: chat, embeddingRows: 200, files: disk, cpu: cpu)
            _ = try (dataset.train.all(), dataset.heldOut.all(), dataset.report.table())
            _ = try dataset.preview(.first(2), tokenizer: tokenizer).map { $0.text(.visibleSpaces) }
        }
    }

    static let records = data("records", endings: ["jsonl", "json"])
    static let table = data("table", endings: ["csv", "tsv"])
    static let packed = data("packed", endings: ["jsonl.gz", "jsonl.zst", "csv.gz"])
}
