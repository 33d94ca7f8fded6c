/// BERT's model: the longest token that begins the word, then the longest that goes on (with a prefix), or the unknown token for the whole word.
struct WordPieceModel: Sendable {
    let ids: [[UInt8]: Int32]
    let unknown: Int32
    let prefix: [UInt8]
    /// Words of more scalars are unknown.
    let longestWord: Int

    func encode(_ text: UnsafeBufferPointer<UInt8>, _ words: [Range<Int>], _ sink: inout TokenSink) {
        for word in words {
            var found: [(Int32, Range<Int>)] = []
            let scalars = text[word].count { $0 & 0xC0 != 0x80 }
            var start = word.lowerBound
            while scalars <= longestWord, start < word.upperBound {
                var end = word.upperBound
                var match: Int32?
                while end > start {
                    let part = (start > word.lowerBound ? prefix : []) + text[start..<end]
                    match = ids[part]
                    if match != nil { break }
                    end -= 1
                    while end > start, text[end] & 0xC0 == 0x80 { end -= 1 }
                }
                guard let match else { break }
                found.append((match, start..<end))
                start = end
            }
            if start < word.upperBound { found = [(unknown, word)] }
            for (id, range) in found { sink.append(id, range: range) }
        }
    }
}

/// Whole words alone; others are the unknown token, or nothing where there is none.
struct WordLevelModel: Sendable {
    let ids: [[UInt8]: Int32]
    let unknown: Int32?

    func encode(_ text: UnsafeBufferPointer<UInt8>, _ words: [Range<Int>], _ sink: inout TokenSink) {
        for word in words {
            if let id = ids[Array(text[word])] ?? unknown { sink.append(id, range: word) }
        }
    }
}
