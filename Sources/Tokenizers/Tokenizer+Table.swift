import LorikeetGround

extension Tokenizer {
    /// Holds ids to a model's embedding table.
    ///
    /// A tokenizer may have more tokens than the table has rows: tokens were added and the model was not resized. A table with more rows
    /// than the tokenizer has tokens is padded, and fine.
    ///
    /// - Parameters:
    ///   - rows: of the embedding table.
    ///   - place: where the text stands, e.g. `file:line`.
    /// - Throws: exit 2 naming the first id outside `0..<rows`, its token, and the table's size.
    package func requireRows(for ids: some Sequence<Int32>, rows: Int, at place: String?) throws {
        guard let id = ids.first(where: { $0 < 0 || Int($0) >= rows }) else { return }
        let text = text(of: id)
        let shown = text.isEmpty ? "" : " (\(String(text.prefix(40)).debugDescription))"
        throw LorikeetError.input(
            "the token id \(id)\(shown) is outside the model's embedding table, which has \(rows) rows (ids 0 to \(rows - 1))", at: place,
            fix: "use the tokenizer that was saved with this model, resize the model's embeddings to the tokenizer's \(vocabularySize) tokens, "
                + "or leave the token out of the text")
    }
}
