import LorikeetDevices
import LorikeetGround
import LorikeetTokenizers

@testable import LorikeetDatasets

/// Files in memory, for reading only.
struct MemoryFiles: Files {
    var contents: [String: [UInt8]] = [:]

    init(_ texts: [String: String]) { contents = texts.mapValues { Array($0.utf8) } }

    func read(_ path: String) throws -> [UInt8] {
        guard let bytes = contents[path] else { throw LorikeetError.input("no such file or directory", at: path) }
        return bytes
    }
    func map(_ path: String) throws -> MappedFile { throw LorikeetError.machine("not on a disk", at: path) }
    func exists(_ path: String) -> Bool { contents[path] != nil || isDirectory(path) }
    func isDirectory(_ path: String) -> Bool {
        if path == "." { return true }
        let folder = path.hasSuffix("/") ? path : path + "/"
        return contents.keys.contains { $0.hasPrefix(folder) }
    }
    func list(_ directory: String) throws -> [String] {
        let folder = directory == "." ? "" : directory + "/"
        let names = contents.keys.filter { $0.hasPrefix(folder) }.map { String($0.dropFirst(folder.count).prefix { $0 != "/" }) }
        return Set(names).sorted()
    }
    func createDirectory(_ path: String) throws { throw LorikeetError.machine("read only", at: path) }
    func remove(_ path: String) throws { throw LorikeetError.machine("read only", at: path) }
    func rename(_ from: String, to: String) throws { throw LorikeetError.machine("read only", at: to) }
    func create(_ path: String) throws -> any FileWriter { throw LorikeetError.machine("read only", at: path) }
    func openAppending(_ path: String) throws -> any FileWriter { throw LorikeetError.machine("read only", at: path) }
    func freeBytes(at path: String) throws -> Int64 { 0 }
}

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
            Dataset.load(settings, tokenizer: tokenizer, template: template, files: MemoryFiles(files), cpu: CPU(threads: threads)))
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
