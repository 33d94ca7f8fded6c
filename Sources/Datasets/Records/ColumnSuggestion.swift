import LorikeetGround
import LorikeetJSON

/// Which keys of a record may be meant for a layout's. A suggestion rests on a known name or a slip of the pen, never on the order of the keys.
enum ColumnSuggestion {
    /// Names by which data sets call what is asked and what is answered, and raw text. Those of the layouts come first.
    private static let asked = ["question", "instruction", "prompt", "query", "input", "user", "human", "problem", "request", "utterance"]
    private static let answers = ["answer", "output", "response", "completion", "reply", "target", "solution", "assistant", "gpt", "bot"]
    private static let texts = ["text", "content", "body", "document", "article", "passage"]
    /// Names that say clearly what they are, so that the only other key is their counterpart.
    private static let clear: Set = ["question", "instruction", "prompt", "answer", "output", "response", "completion"]

    /// What `--columns` would have to say of a record that no layout fits; nil where its keys suggest nothing.
    static func columns(of record: JSONObject) -> String? {
        // A list of messages under another name is recognised by its content.
        if let name = record.entries.first(where: { $0.value.array?.first.map { $0["role"] != nil || $0["from"] != nil } ?? false })?.key {
            return "messages=\(name)"
        }
        let beside = Set(RecordLayout.allCases.flatMap(\.optional)).subtracting(asked)
        let keys = record.entries.filter { $0.value.string != nil && !beside.contains($0.key) }.map(\.key)
        let (question, answer) = (nearest(asked, in: keys), nearest(answers, in: keys))
        if let question = question ?? rest(keys, beside: answer), let answer = answer ?? rest(keys, beside: question), question != answer {
            let names = isMeant(question, "question") ? ["question", "answer"] : ["instruction", "output"]
            return zip(names, [question, answer]).filter { $0 != $1 }.map { "\($0)=\($1)" }.joined(separator: ",")
        }
        guard question == nil, answer == nil else { return nil }
        return nearest(texts, in: keys).map { "text=\($0)" }
    }

    /// The key of a record that may be meant for one of a layout's `names`; nil where none is near.
    static func key(for names: [String], in record: JSONObject) -> String? {
        let known = [asked, answers, texts].first { !Set($0).isDisjoint(with: names) } ?? []
        return nearest(names + known, in: record.entries.map(\.key))
    }

    /// The key that is the first of the names in other letters, or differs from it by a slip; else that of the second, and so on.
    private static func nearest(_ names: [String], in keys: [String]) -> String? {
        for name in names { if let key = keys.first(where: { isMeant($0, name) }) { return key } }
        return nil
    }

    private static func isMeant(_ key: String, _ name: String) -> Bool {
        let plain = plain(key)
        // One letter makes another word of a short one: `test`, `text`.
        return plain == name || name.count > 4 && nearestName(to: plain, among: [name]) != nil
    }

    /// The other one of two keys, where the first is a layout's own.
    private static func rest(_ keys: [String], beside key: String?) -> String? {
        guard let key, keys.count == 2, clear.contains(plain(key)) else { return nil }
        return keys.first { $0 != key }
    }

    /// `Question `, `QUESTION` and `question_` are one name.
    private static func plain(_ key: String) -> String { key.lowercased().filter { $0.isLetter } }
}

extension JSONObject {
    /// The keys for a message, of which a wide table has many.
    var namedKeys: String { keys.prefix(20).joined(separator: ", ") + (keys.count > 20 ? " and \(keys.count - 20) more" : "") }
}
