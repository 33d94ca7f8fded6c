/// Byte strings in a trie whose nodes lie in breadth-first order, so that the children of a node are neighbours.
struct ByteTrie: Sendable {
    /// The children of node `n` are the nodes `childStart[n]..<childStart[n + 1]`, in the order of their bytes.
    private var childStart: [UInt32] = []
    private var labels: [UInt8] = []
    /// Index of the string that ends at a node, else -1.
    private(set) var values: [Int32] = []
    /// The root's child for each byte, 0 without one.
    private var roots = [UInt32](repeating: 0, count: 256)

    var isEmpty: Bool { values.count <= 1 }

    /// Of equal strings the first counts; empty ones are never found. Takes time and memory in proportion to the bytes.
    init(_ strings: [[UInt8]]) {
        let order = strings.indices.filter { !strings[$0].isEmpty }.sorted { Self.precedes(strings[$0], $0, strings[$1], $1) }
        labels = [0]
        values = [-1]
        // Ranges of `order` that share the first `depth` bytes.
        var level: [(range: Range<Int>, node: Int)] = [(0..<order.count, 0)]
        var depth = 0
        while !level.isEmpty {
            var next: [(range: Range<Int>, node: Int)] = []
            for (range, node) in level {
                childStart.append(UInt32(labels.count))
                var at = range.lowerBound
                while at < range.upperBound, strings[order[at]].count == depth {
                    if values[node] < 0 { values[node] = Int32(order[at]) }
                    at += 1
                }
                while at < range.upperBound {
                    let byte = strings[order[at]][depth]
                    let start = at
                    while at < range.upperBound, strings[order[at]][depth] == byte { at += 1 }
                    if depth == 0 { roots[Int(byte)] = UInt32(labels.count) }
                    next.append((start..<at, labels.count))
                    labels.append(byte)
                    values.append(-1)
                }
            }
            level = next
            depth += 1
        }
        childStart.append(UInt32(labels.count))
    }

    private static func precedes(_ a: [UInt8], _ i: Int, _ b: [UInt8], _ j: Int) -> Bool {
        let shared = min(a.count, b.count)
        for at in 0..<shared where a[at] != b[at] { return a[at] < b[at] }
        return a.count == b.count ? i < j : a.count < b.count
    }

    /// The node below `node` (0 is the root) by `byte`; 0 without one.
    @inline(__always)
    func child(_ node: Int, _ byte: UInt8) -> Int {
        if node == 0 { return Int(roots[Int(byte)]) }
        var at = Int(childStart[node])
        var end = Int(childStart[node + 1])
        while end - at > 8 {
            let middle = (at + end) / 2
            if labels[middle] > byte { end = middle } else { at = middle }
        }
        while at < end {
            if labels[at] == byte { return at }
            at += 1
        }
        return 0
    }

    @inline(__always)
    func startsWith(_ byte: UInt8) -> Bool { roots[Int(byte)] != 0 }

    /// The longest string that begins `text` at `start`.
    func longest(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> (index: Int, length: Int)? {
        var node = 0
        var best: (Int, Int)?
        var at = start
        while at < text.count {
            node = child(node, text[at])
            guard node != 0 else { break }
            at += 1
            if values[node] >= 0 { best = (Int(values[node]), at - start) }
        }
        return best
    }
}
