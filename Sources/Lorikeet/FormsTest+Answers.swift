import LorikeetDelivery
import LorikeetJSON

extension FormsTest.Result {
    /// Answers that are reported.
    private static let reportedAnswers = 12
    /// Characters of each text that are reported.
    private static let reportedCharacters = 2000

    /// The first held-out records with what the base and the merged model answer, and the right answer.
    var answers: JSON {
        func text(_ texts: [String], _ index: Int) -> JSON {
            guard texts.indices.contains(index) else { return .null }
            return .string(String(texts[index].prefix(Self.reportedCharacters)))
        }
        return .array(
            rows.indices.prefix(Self.reportedAnswers).map { index in
                [
                    "question": text(questions, index), "before": text(before.answers, index), "with_adapter": text(after.answers, index),
                    "after": text(merged.answers, index), "right": .string(String(rows[index].answer.prefix(Self.reportedCharacters))),
                    "after_is_right": .bool(merged.answers.indices.contains(index) && AnswerTest.isRight(merged.answers[index], expected: rows[index].answer)),
                ]
            })
    }
}
