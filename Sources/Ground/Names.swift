/// The name that differs least from `name`, for "did you mean", the first in order among equals. nil where even that one differs in more than a third
/// of the letters (at least one): it is another word.
///
/// The difference is the edit distance in which two neighbouring letters that are swapped count as one edit (optimal string alignment).
package func nearestName(to name: String, among names: [String]) -> String? {
    let nearest = names.map { (distance: editDistance($0, name), name: $0) }.min { ($0.distance, $0.name) < ($1.distance, $1.name) }
    return nearest.flatMap { $0.distance <= max(1, name.count / 3) && $0.distance < max(1, name.count) ? $0.name : nil }
}

/// The name that someone who typed `name` means: the nearest, else the only one that begins with it (three letters at least).
package func meantName(by name: String, among names: [String]) -> String? {
    if let nearest = nearestName(to: name, among: names) { return nearest }
    let begun = name.count > 2 ? names.filter { $0.hasPrefix(name) } : []
    return begun.count == 1 ? begun.first : nil
}

/// The fewest letters to insert, delete or replace, or neighbours to swap.
private func editDistance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a), Array(b))
    // Distances of a's first i - 2, i - 1 and i letters to every beginning of b.
    var (before, last) = ([Int](), Array(0...b.count))
    for i in a.indices {
        var row = [i + 1]
        for j in b.indices {
            var least = min(last[j] + (a[i] == b[j] ? 0 : 1), last[j + 1] + 1, row[j] + 1)
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { least = min(least, before[j - 1] + 1) }
            row.append(least)
        }
        (before, last) = (last, row)
    }
    return last[b.count]
}

/// Names of data files that say what they are for, by the habits of data sets.
package enum SplitNames {
    package static let train = ["train", "training"]
    package static let validation = ["validation", "valid", "val", "dev", "eval", "evaluation"]
}
