/// The name that differs least from `name`, for "did you mean": by Levenshtein's edit distance, the first in order among equals. nil where
/// even that one differs in more than a third of the letters (at least one): it is another word.
package func nearestName(to name: String, among names: [String]) -> String? {
    let nearest = names.map { (distance: editDistance($0, name), name: $0) }.min { ($0.distance, $0.name) < ($1.distance, $1.name) }
    return nearest.flatMap { $0.distance <= max(1, name.count / 3) && $0.distance < max(1, name.count) ? $0.name : nil }
}

/// Levenshtein's edit distance: the fewest characters to insert, delete or replace.
private func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a), Array(b))
    var row = Array(0...b.count)
    for i in a.indices {
        var diagonal = row[0]
        row[0] = i + 1
        for j in b.indices {
            let next = min(diagonal + (a[i] == b[j] ? 0 : 1), row[j] + 1, row[j + 1] + 1)
            diagonal = row[j + 1]
            row[j + 1] = next
        }
    }
    return row[b.count]
}

/// Names of data files that say what they are for, by the habits of data sets.
package enum SplitNames {
    package static let train = ["train", "training"]
    package static let validation = ["validation", "valid", "val", "dev", "eval", "evaluation"]
}
