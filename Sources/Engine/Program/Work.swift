/// One item of the work that an op states. `DeviceModel` has a rate for each case and turns items into seconds.
package enum Work: Sendable, Equatable {
    /// A matrix product [m, k] · [k, n] with operands of the activations' type.
    case product(m: Int, n: Int, k: Int)
    /// The same with a right-hand operand that stays in quantised codes, for few rows.
    case codesProduct(m: Int, n: Int, k: Int)
    /// Matrix products of attention. Each of the `products` does 2 · `width` floating-point operations for each of the `pairs`
    /// (query, key); `width` is number of heads × head size.
    case attention(pairs: Double, width: Int, products: Int)
    /// Bytes read from and written to the device's memory.
    case bytes(Double)
    /// Bytes of keys and values that the heads of new tokens read from a cache, those that heads share counted for each.
    case cachedBytes(Double)
    /// A number of kernel launches, one after the other.
    case launches(Int)
    /// Bytes that a kernel reads from the host's memory.
    case hostBytes(Double)
    /// The beginning of a copy of so many bytes between device and host, which runs beside the work that follows; copies run one after the other.
    case beginCopy(bytes: Double, number: Int)
    /// What follows begins after the copy of this number has ended.
    case awaitCopy(number: Int)

    /// Floating-point operations in matrix products.
    package var matrixFlops: Double {
        switch self {
        case .product(let m, let n, let k), .codesProduct(let m, let n, let k): 2 * Double(m) * Double(n) * Double(k)
        case .attention(let pairs, let width, let products): 2 * pairs * Double(width * products)
        case .bytes, .cachedBytes, .launches, .hostBytes, .beginCopy, .awaitCopy: 0
        }
    }

    package var bytesMoved: Double { if case .bytes(let bytes) = self { bytes } else { 0 } }
}

extension Sequence<Work> {
    package var matrixFlops: Double { reduce(0) { $0 + $1.matrixFlops } }
    package var bytesMoved: Double { reduce(0) { $0 + $1.bytesMoved } }
}

/// What a program's work depends on beside its shapes: the data of the micro-batch, and how the weights are stored.
package struct Workload: Sendable, Equatable {
    /// Lengths, in tokens, of the segments that fill the micro-batch; nil means one segment of all rows.
    package var segments: SegmentLengths?
    /// Rows with a target divided by all rows (0 to 1): the head computes logits for these rows only.
    package var trainedShare = 1.0
    /// By tensor name, the stored bytes of each matrix that is dequantised before a product or multiplied from its quantised codes. A
    /// matrix that is not named here is stored in the activations' type and multiplied without a conversion.
    package var storedBytes: [String: Int] = [:]
    /// Whether the embedding's rows come from the host's memory.
    package var embeddingOnHost = false

    package init(segments: SegmentLengths? = nil, trainedShare: Double = 1) {
        self.segments = segments
        self.trainedShare = trainedShare
    }
}

/// The distribution of segment lengths in some data, on which attention's work depends. Lengths are in tokens.
package struct SegmentLengths: Sendable, Equatable {
    /// A length that occurs, with cumulative sums over all segments of this length or shorter.
    private struct Entry: Equatable {
        let length: Int
        /// The number of segments.
        var segments = 0.0
        /// Their tokens, each of which is one query.
        var queries = 0.0
        /// Their pairs (query, key) under causal attention without a window.
        var pairs = 0.0
    }
    /// In ascending order of length.
    private let entries: [Entry]

    /// Lengths below 1 are left out.
    package init(_ lengths: [Int]) {
        // Of hundreds of thousands of samples nearly all are short: an array counts them ten times as fast.
        var (counts, short): ([Int: Int], [Int]) = ([:], Array(repeating: 0, count: 4096))
        for length in lengths { if short.indices.contains(length) { short[length] += 1 } else { counts[length, default: 0] += 1 } }
        for (length, count) in short.enumerated() where count > 0 { counts[length] = count }
        self.init(counts: counts)
    }

    /// - Parameter counts: by length, the number of segments; lengths below 1 are left out. Where the first rows of a text are computed in another
    ///   segment, a segment of their length is taken off, so numbers may be negative.
    package init(counts: [Int: Int]) {
        var entries: [Entry] = []
        for (length, count) in counts.sorted(by: { $0.key < $1.key }) where length > 0 {
            var entry = Entry(length: length)
            let (n, count, before) = (Double(length), Double(count), entries.last)
            entry.segments = (before?.segments ?? 0) + count
            entry.queries = (before?.queries ?? 0) + count * n
            entry.pairs = (before?.pairs ?? 0) + count * n * (n + 1) / 2
            entries.append(entry)
        }
        self.entries = entries
    }

    /// The mean number of keys that a query attends to: itself and the tokens before it in its segment, at most `window` in all.
    package func keysPerQuery(window: Int?) -> Double {
        guard let all = entries.last, all.queries > 0 else { return 0 }
        guard let window, window < all.length else { return all.pairs / all.queries }
        let within = entries.prefix { $0.length <= window }.last
        // In a segment longer than the window the first `window` queries see 1, 2, … keys: window * (window + 1) / 2 pairs. Each later query
        // sees `window` keys.
        let (w, longer) = (Double(window), all.segments - (within?.segments ?? 0))
        let queries = all.queries - (within?.queries ?? 0)
        return ((within?.pairs ?? 0) + longer * w * (w + 1) / 2 + (queries - longer * w) * w) / all.queries
    }
}

/// What an op needs to state its work: the program's values and target, and the workload.
package struct WorkContext {
    package let values: ValueTable
    package let target: ProgramTarget
    package let load: Workload

    /// The number of pairs (query, key) in causal attention over `rows` rows.
    func pairs(rows: Int, window: Int?) -> Double {
        Double(rows) * (load.segments ?? SegmentLengths([rows])).keysPerQuery(window: window)
    }

    func bytes(_ id: ValueID) -> Double { Double(values[id].byteCount) }

    /// The work of one kernel that reads and writes `bytes` in all.
    func kernel(moving bytes: Double) -> [Work] { [.bytes(bytes), .launches(1)] }
}

extension Program {
    /// The work of one run of the program.
    package func work(_ load: Workload = Workload()) -> [Work] {
        let context = WorkContext(values: values, target: target, load: load)
        return ops.flatMap { $0.work(context) }
    }
}
