/// The name that differs least from `name`, for "did you mean": by Levenshtein's edit distance, the first in order among equals.
package func nearestName(to name: String, among names: [String]) -> String? {
    names.min { (editDistance($0, name), $0) < (editDistance($1, name), $1) }
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
