import LorikeetGround
import Testing

@testable import Lorikeet

struct StopWordsTests {
    /// The text that comes out of pieces, and whether a stop word was found.
    private func cut(_ pieces: [String], _ words: [String]) -> (shown: [String], found: Bool) {
        var stops = StopWords(words)
        var shown = pieces.map { stops.append($0) }
        shown.append(stops.finish())
        return (shown, stops.isFound)
    }

    @Test func `a stop word is not shown, and nothing behind it`() {
        #expect(cut(["one STOP two"], ["STOP"]).shown.joined() == "one ")
        #expect(cut(["STOP"], ["STOP"]).shown.joined().isEmpty)
        let (shown, found) = cut(["a", "b", "c"], ["d"])
        #expect(shown == ["a", "b", "c", ""] && !found)
    }

    @Test func `what may become a stop word is held back until it is certain`() {
        #expect(cut(["one \n", "\nUs", "er: x"], ["\n\nUser:"]).shown == ["one ", "", "", ""])
        #expect(cut(["one \n", "\nUs", "eful"], ["\n\nUser:"]).shown == ["one ", "", "\n\nUseful", ""])
        // The end of the text was no stop word.
        #expect(cut(["one \n\nUse"], ["\n\nUser:"]).shown == ["one ", "\n\nUse"])
        // The held text's own end is a beginning too.
        #expect(cut(["aab", "aac"], ["aabaaab"]).shown == ["", "aabaac", ""])
    }

    @Test func `the result does not depend on the pieces`() {
        let text = "ein Wörterbuch, ein Wort — Ende 👍 ENDE. nichts"
        for words in [["ENDE"], ["Wort", "Ende"], ["— E", " 👍", "Ende"], ["👍"], ["ö", "ört"], ["nie"], ["ei", "ein"]] {
            let whole = cut([text], words).shown.joined()
            let expected = words.compactMap { word in text.ranges(of: word).first }.min { $0.upperBound < $1.upperBound }
            if words != ["ei", "ein"], words != ["ö", "ört"] { #expect(whole == text[..<(expected?.lowerBound ?? text.endIndex)]) }
            for size in 1...7 {
                var rest = Array(text)[...]
                var pieces: [String] = []
                while !rest.isEmpty {
                    pieces.append(String(rest.prefix(size)))
                    rest = rest.dropFirst(size)
                }
                #expect(cut(pieces, words).shown.joined() == whole, "\(words) by \(size)")
            }
        }
        #expect(cut([text], ["ei", "ein"]).shown.joined().isEmpty)
    }

    @Test func `of words that end together the longest counts`() {
        #expect(cut(["a##END"], ["END", "##END"]).shown.joined() == "a")
        #expect(cut(["abcd"], ["bc", "abcd"]).shown.joined() == "a")
    }

    @Test func `options that cannot be are named`() throws {
        func fault(_ change: (inout SamplingOptions) -> Void) -> String? {
            var options = SamplingOptions()
            change(&options)
            return options.fault?.key
        }
        #expect(fault { _ in } == nil)
        #expect(fault { ($0.temperature, $0.topK, $0.topP, $0.minP, $0.repetitionPenalty, $0.stop) = (0.7, 40, 0.9, 0.05, 1.1, ["x"]) } == nil)
        for value in [-1, 0.0001, 101, .nan, .infinity] { #expect(fault { $0.temperature = value } == "temperature") }
        #expect(fault { ($0.temperature, $0.topK) = (1, 0) } == "top_k" && fault { ($0.temperature, $0.topK) = (1, -4) } == "top_k")
        for value in [-0.1, 1.1, .nan] {
            #expect(fault { ($0.temperature, $0.topP) = (1, value) } == "top_p" && fault { ($0.temperature, $0.minP) = (1, value) } == "min_p")
        }
        for value in [0, -1, 101, .nan] { #expect(fault { $0.repetitionPenalty = value } == "repetition_penalty") }
        #expect(fault { $0.stop = ["a", ""] } == "stop")
        // Without a temperature nothing is drawn, and what only decides the drawing would be ignored.
        #expect(fault { $0.topK = 3 } == "top_k" && fault { $0.topP = 0.9 } == "top_p" && fault { $0.minP = 0.1 } == "min_p")
        #expect(fault { ($0.repetitionPenalty, $0.seed) = (1.2, 9) } == nil)
        var options = SamplingOptions()
        options.topP = 3
        #expect(throws: LorikeetError.self) { try options.rules() }
    }
}
