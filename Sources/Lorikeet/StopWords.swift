/// Ends a text that comes in pieces before the first stop word, and holds back what could be the beginning of one.
///
/// The text ends where a stop word is first complete; of several that are complete at the same byte the longest counts. So the result does
/// not depend on how the text is divided into pieces, and a stop word may span tokens.
struct StopWords: Sendable {
    private let words: [[UInt8]]
    /// The end of the text so far that is the beginning of a stop word.
    private var held: [UInt8] = []
    private(set) var isFound = false

    /// - Parameter words: none of them empty.
    init(_ words: [String]) { self.words = words.map { Array($0.utf8) } }

    /// The text that is certain by now. Once a stop word is found nothing more comes.
    mutating func append(_ piece: String) -> String {
        guard !words.isEmpty else { return piece }
        guard !isFound else { return "" }
        for byte in piece.utf8 {
            held.append(byte)
            let found = words.filter { held.count >= $0.count && held.suffix($0.count).elementsEqual($0) }.map(\.count).max()
            guard let found else { continue }
            isFound = true
            return String(decoding: held.dropLast(found), as: UTF8.self)
        }
        let kept = beginningLength()
        let text = String(decoding: held.dropLast(kept), as: UTF8.self)
        held = Array(held.suffix(kept))
        return text
    }

    /// What was held back, at the end of the text.
    mutating func finish() -> String {
        defer { held = [] }
        return isFound ? "" : String(decoding: held, as: UTF8.self)
    }

    /// Bytes of the longest end of `held` with which a stop word begins.
    private func beginningLength() -> Int {
        let longest = min(held.count, (words.map(\.count).max() ?? 1) - 1)
        for length in stride(from: longest, to: 0, by: -1) {
            let end = held.suffix(length)
            if words.contains(where: { $0.count > length && $0.prefix(length).elementsEqual(end) }) { return length }
        }
        return 0
    }
}
