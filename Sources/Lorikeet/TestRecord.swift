import LorikeetDelivery
import LorikeetGround
import LorikeetJSON

/// What the test of a run has found so far: `test.json` in its directory. A run that was ended while it tested goes on behind the last form that was done.
/// The file is removed once summary.json says the same.
final class TestRecord {
    /// nil keeps nothing.
    private let path: String?
    private let files: any Files
    private let key: String
    private var found: JSONObject = [:]

    /// - Parameters:
    ///   - key: the same for the same models, records and settings alone; what was found under another one is left out.
    /// - Throws: exit 4 where the file is there and cannot be read.
    init(path: String?, key: String, files: any Files) throws {
        (self.path, self.key, self.files) = (path, key, files)
        guard let path, let kept = try files.ownJSON(path), kept["key"]?.string == key else { return }
        found = kept["found"]?.object ?? [:]
    }

    /// A test whose findings are not kept.
    init(files: any Files) { (path, key, self.files) = (nil, "", files) }

    /// What was found of a form, or what `body` finds of it now.
    ///
    /// - Throws: what `body` throws; exit 4 where it cannot be kept.
    func form(_ name: String, _ body: () throws -> FormResult) throws -> FormResult {
        if let known = known(name) { return known }
        let result = try body()
        // Numbers that are not finite are not kept: JSON has none.
        guard (result.loss ?? 0).isFinite, (result.answersRight ?? 0).isFinite else { return result }
        found[name] = [
            "loss": result.loss.map { .number($0) } ?? .null, "answers_right": result.answersRight.map { .number($0) } ?? .null,
            "answers": .array(result.answers.map { .string($0) }), "failure": result.failure.map { .string($0) } ?? .null,
        ]
        if let path { try files.writeDurably((["key": .string(key), "found": .object(found)] as JSON).serialized() + "\n", to: path) }
        return result
    }

    /// What was found of a form; nil where nothing was.
    func known(_ name: String) -> FormResult? {
        guard let kept = found[name], let answers = kept["answers"]?.array else { return nil }
        return FormResult(
            loss: kept["loss"]?.double, answersRight: kept["answers_right"]?.double, answers: answers.compactMap(\.string), failure: kept["failure"]?.string)
    }
}

extension OutputDirectory {
    private var testJSON: String { path + "/test.json" }

    /// What an earlier process found of these very models, on these records, by this recipe.
    ///
    /// - Throws: exit 4 where something cannot be read.
    func testRecord(_ recipe: String) throws -> TestRecord {
        var parts: [JSON] = []
        for part in OutputParts.Part.all {
            parts.append(.array(try (self.parts.sums(part) ?? []).map { .array([.string($0.name), .string($0.sum)]) }))
        }
        let text = [lorikeetVersion, recipe, try keptInputs()?.json.serialized() ?? "", JSON.array(parts).serialized()].joined(separator: "\n")
        return try TestRecord(path: testJSON, key: ContentHash(of: Array(text.utf8)).description, files: files)
    }

    /// Removes what the test has found; a failure is of no concern, for its key keeps it from being used for anything else.
    func removeTestRecord() { if files.exists(testJSON) { try? files.remove(testJSON) } }
}
