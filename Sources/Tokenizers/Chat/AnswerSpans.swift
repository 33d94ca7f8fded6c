import LorikeetGround
import LorikeetJSON

extension ChatTemplate {
    /// The conversation as text, with the range of every answer that is to be trained.
    ///
    /// An answer begins where the template's generation prompt for the messages before it ends, and ends with the end token of
    /// the turn. What the template writes after that (a newline) belongs to the next prompt.
    ///
    /// - Parameters:
    ///   - trained: indices of the messages to train, ascending.
    ///   - endTexts: the texts of the tokens that end an answer.
    /// - Throws: `LorikeetError.input` where the template refuses the conversation, or where the ranges cannot be found exactly.
    package func renderWithAnswers(_ conversation: Conversation, trained: [Int], endTexts: [String]) throws -> RenderedConversation {
        let text = try render(conversation, addGenerationPrompt: false)
        let whole = Array(text.utf8)
        let ends = endTexts.map { Array($0.utf8) }.filter { !$0.isEmpty }
        var answers: [RenderedConversation.Answer] = []
        for turn in trained {
            let prompt = Array(try render(conversation.prefix(turn), addGenerationPrompt: true).utf8)
            guard prompt.count >= answers.last?.range.upperBound ?? 0, whole.starts(with: prompt) else {
                throw LorikeetError.input(
                    "the chat template writes message \(turn + 1) otherwise than it asks for it",
                    fix: "give a model whose template writes an answer right behind its generation prompt, or prompt/completion records")
            }
            var bound = whole.count
            if turn < conversation.messages.count - 1 {
                // Templates that write earlier turns otherwise (without their thoughts) have no such prefix.
                let upToTurn = Array(try render(conversation.prefix(turn + 1), addGenerationPrompt: false).utf8)
                if whole.starts(with: upToTurn) { bound = upToTurn.count }
            }
            guard bound >= prompt.count else { throw LorikeetError.input("the chat template does not write message \(turn + 1)") }
            let content = Array(PythonText.strip(conversation.messages[turn]["content"]?.string ?? "", nil).utf8)
            let end = Self.endOfAnswer(in: whole[prompt.count..<bound], content: content, ends)
            answers.append(.init(message: turn, range: prompt.count..<(end ?? bound), endsWithEndToken: end != nil))
        }
        return RenderedConversation(text: text, answers: answers)
    }

    /// One past the first end token's text behind the content (which may hold such a text itself); nil where there is none.
    private static func endOfAnswer(in turn: ArraySlice<UInt8>, content: [UInt8], _ endTexts: [[UInt8]]) -> Int? {
        let behind = find(content, in: turn).map { $0 + content.count } ?? turn.startIndex
        return endTexts.compactMap { text in find(text, in: turn[behind...]).map { $0 + text.count } }.min()
    }

    private static func find(_ needle: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
        guard let first = needle.first, bytes.count >= needle.count else { return nil }
        return (bytes.startIndex...bytes.endIndex - needle.count).first {
            bytes[$0] == first && bytes[$0..<$0 + needle.count].elementsEqual(needle)
        }
    }
}

extension Conversation {
    /// The same with its first messages alone.
    func prefix(_ count: Int) -> Conversation {
        var result = self
        result.messages = Array(messages.prefix(count))
        return result
    }
}
