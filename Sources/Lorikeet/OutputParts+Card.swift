import LorikeetGround
import LorikeetJSON

/// The model card of a part, `README.md`. It says what the test found, so it is written after the part and is none of the files that make the part
/// whole: one that is missing is written again, one that a user has edited stays.
extension OutputParts {
    static let card = "README.md"

    func cardPath(_ part: Part) -> String { place(part) + "/" + Self.card }

    /// The check sums of the cards that the run wrote: one, or, where a process was killed while it replaced it, the old one and the new one.
    func cardSums(_ part: Part) throws -> [String] {
        try record()[part.rawValue]?["card"]?.array?.compactMap(\.string) ?? []
    }

    enum CardState: Equatable {
        /// The part is there and its card is missing, or is an older one of this run.
        case due
        case written
        /// The card is not, or no longer, what the run wrote.
        case edited
        /// There is no such part, or none that `files.json` knows.
        case noPart
    }

    func cardState(_ part: Part, _ text: String) throws -> CardState {
        guard files.isDirectory(place(part)), try isRecorded(part) else { return .noPart }
        guard files.exists(cardPath(part)) else { return .due }
        guard let there = try currentSum(cardPath(part)) else { return .edited }
        let known = try cardSums(part)
        if there == ContentHash(of: Array(text.utf8)).description { return known == [there] ? .written : .due }
        return known.contains(there) ? .due : .edited
    }

    /// Writes the card of a part whose card is due.
    ///
    /// Its sum is recorded before and beside the sum of the card that is there: whenever the process is killed, the card on the disk is recognised
    /// as the run's own.
    func write(card text: String, of part: Part) throws {
        let sum = ContentHash(of: Array(text.utf8)).description
        try keep(cardSums: cardSums(part) + [sum], of: part)
        try files.writeDurably(text, to: cardPath(part))
        try keep(cardSums: [sum], of: part)
    }

    private func keep(cardSums sums: [String], of part: Part) throws {
        var record = try record()
        guard var entry = record[part.rawValue]?.object else { return }
        let list = JSON(sums.enumerated().filter { !sums[..<$0.offset].contains($0.element) }.map(\.element))
        guard entry["card"] != list else { return }
        entry["card"] = list
        record[part.rawValue] = .object(entry)
        try files.writeDurably(JSON.object(record).serialized(pretty: true) + "\n", to: recordPath)
    }
}
