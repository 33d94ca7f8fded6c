import LorikeetGround
import LorikeetJSON
import LorikeetTokenizers
import MemoryFiles

/// What every tokenizer that could be read is given.
enum Texts {
    private static let samples = [
        "", " ", "The river runs to the sea.\n", "<|im_start|>user\nI'm 12345 years\t old</s>", "\u{301}e\u{301} ﬁ Å 漢字 👩‍👩‍👧 ", "a\u{0}b\r\n\r\n  c\u{FEFF}",
        String(repeating: "ab ", count: 40), String(repeating: "é", count: 60),
    ]

    static func exercise(_ tokenizer: Tokenizer) throws {
        for text in samples {
            do {
                let ids = try tokenizer.encodeWithRanges(text).ids
                _ = tokenizer.decode(ids)
                _ = tokenizer.decode(ids, skipSpecial: true)
            } catch { try expectSentence(error) }
        }
        for id in [0, 1, -1, Int32.max, Int32.min, Int32(clamping: tokenizer.vocabularySize)] {
            _ = tokenizer.text(of: id)
            _ = tokenizer.isSpecial(id)
        }
        _ = tokenizer.decode([0, 1, 2, 300, -7, .max])
    }

    /// Goes on behind an error of the program's own; passes others on, which are findings.
    static func expectSentence(_ error: any Error) throws { guard error is LorikeetError else { throw error } }
}

extension FuzzTarget {
    /// A folder with a `tokenizer.json` and what may stand beside it.
    static let tokenizerJSON = FuzzTarget(name: "tokenizer-json") { bytes in
        try Texts.exercise(Tokenizer(directory: "m", files: MemoryFiles(folder: "m", bytes)))
    }

    static let sentencePiece = FuzzTarget(name: "sentencepiece") { bytes in
        try Texts.exercise(Tokenizer(directory: "m", files: MemoryFiles("m/tokenizer.model", bytes)))
    }
}
