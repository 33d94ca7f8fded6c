import LorikeetEngine
import LorikeetModelFiles
import LorikeetTokenizers
import MemoryFiles

extension FuzzTarget {
    /// A GGUF with all that is read of it before a weight is: tensors, configuration, tokenizer.
    static let gguf = FuzzTarget(name: "gguf") { bytes in
        Header.read("x.gguf", bytes)
        let files = try ModelFiles.open("x.gguf", files: MemoryFiles("x.gguf", bytes))
        do { try Texts.exercise(Tokenizer.load(from: files)) } catch { try Texts.expectSentence(error) }
        _ = try ModelSource(files)
    }
}
