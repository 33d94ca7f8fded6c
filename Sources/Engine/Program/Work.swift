/// A piece of an op's work, of a kind for which a device has one price (see `DeviceModel`).
package enum Work: Sendable, Equatable {
    /// A matrix product [m, k] · [k, n] of operands of the activations' type.
    case product(m: Int, n: Int, k: Int)
    /// Attention's products: each does 2 · `width` operations for each of `pairs` (query, key); width is the head size over all heads.
    case attention(pairs: Double, width: Int, products: Int)
    /// Bytes that pass between the processing units and the device's memory.
    case bytes(Double)
    /// Kernels that start one after the other.
    case launches(Int)

    /// Floating-point operations in matrix products.
    package var matrixFlops: Double {
        switch self {
        case .product(let m, let n, let k): 2 * Double(m) * Double(n) * Double(k)
        case .attention(let pairs, let width, let products): 2 * pairs * Double(width * products)
        case .bytes, .launches: 0
        }
    }

    package var bytesMoved: Double { if case .bytes(let bytes) = self { bytes } else { 0 } }
}

extension Sequence<Work> {
    package var matrixFlops: Double { reduce(0) { $0 + $1.matrixFlops } }
    package var bytesMoved: Double { reduce(0) { $0 + $1.bytesMoved } }
}

/// What the work of a program depends on beside its shapes: the data, and how the weights lie in memory.
package struct Workload: Sendable {
    /// Lengths of the segments that fill the micro-batch; nil is one segment of all rows.
    package var segments: SegmentLengths?
    /// Rows with a target, as a share of all: the head works on these alone.
    package var trainedShare = 1.0
    /// Bytes of each matrix that is expanded before a product or multiplied from its codes, by the tensor's name. A matrix that is not
    /// named here lies in the activations' type and is multiplied as it lies.
    package var storedBytes: [String: Int] = [:]

    package init(segments: SegmentLengths? = nil, trainedShare: Double = 1) {
        self.segments = segments
        self.trainedShare = trainedShare
    }
}

/// How long the segments of some data are: what attention's work depends on.
package struct SegmentLengths: Sendable {
    /// Each length that occurs, in order, with sums over all segments up to that length.
    private struct Entry {
        let length: Int
        var segments = 0.0
        var queries = 0.0
        /// (query, key) without a window.
        var pairs = 0.0
    }
    private let entries: [Entry]

    /// Lengths below 1 are left out.
    package init(_ lengths: some Sequence<Int>) {
        var counts: [Int: Int] = [:]
        for length in lengths where length > 0 { counts[length, default: 0] += 1 }
        var entries: [Entry] = []
        for (length, count) in counts.sorted(by: { $0.key < $1.key }) {
            var entry = Entry(length: length)
            let (n, count, before) = (Double(length), Double(count), entries.last)
            entry.segments = (before?.segments ?? 0) + count
            entry.queries = (before?.queries ?? 0) + count * n
            entry.pairs = (before?.pairs ?? 0) + count * n * (n + 1) / 2
            entries.append(entry)
        }
        self.entries = entries
    }

    /// How many keys a query sees on average, itself included: those before it in its segment, the last `window` of them.
    package func keysPerQuery(window: Int?) -> Double {
        guard let all = entries.last else { return 0 }
        guard let window, window < all.length else { return all.pairs / all.queries }
        let within = entries.prefix { $0.length <= window }.last
        // A longer segment of n: window * (window + 1) / 2 pairs of the first queries, and window for each of the others.
        let (w, longer) = (Double(window), all.segments - (within?.segments ?? 0))
        let queries = all.queries - (within?.queries ?? 0)
        return ((within?.pairs ?? 0) + longer * w * (w + 1) / 2 + (queries - longer * w) * w) / all.queries
    }
}

/// A program's values and workload, of which its ops state their work.
package struct WorkContext {
    package let values: ValueTable
    package let target: ProgramTarget
    package let load: Workload

    /// Pairs (query, key) in attention over `rows` rows.
    func pairs(rows: Int, window: Int?) -> Double {
        Double(rows) * (load.segments ?? SegmentLengths(CollectionOfOne(rows))).keysPerQuery(window: window)
    }

    func bytes(_ id: ValueID) -> Double { Double(values[id].byteCount) }

    /// One kernel that moves `bytes`.
    func pass(_ bytes: Double) -> [Work] { [.bytes(bytes), .launches(1)] }
}

extension Program {
    /// What one run of the program does.
    package func work(_ load: Workload = Workload()) -> [Work] {
        let context = WorkContext(values: values, target: target, load: load)
        return ops.flatMap { $0.work(context) }
    }
}
