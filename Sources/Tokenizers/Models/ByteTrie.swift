/// Byte strings in a trie whose edges lie in an open-addressing hash: a step is one look-up of 16 bytes, which gives the next node and the
/// string that ends there.
struct ByteTrie: Sendable {
    /// The edge from a node by a byte.
    struct Edge: Sendable {
        /// The node that it leaves, shifted by 8 bits, and the byte; `empty` for a free slot.
        var key: UInt64
        /// The node that it leads to; 0 is the root.
        var node: UInt32
        /// Index of the string that ends at `node`, else -1.
        var value: Int32

        static let empty: UInt64 = .max
    }

    /// A power of two, at most two thirds full.
    private var edges: [Edge]
    private var shift: UInt64
    /// Nodes without the root.
    private var count = 0
    private var isFirstByte = [Bool](repeating: false, count: 256)

    var isEmpty: Bool { count == 0 }

    /// Of equal strings the first counts; empty ones are never found. Takes time and memory in proportion to the bytes.
    init(_ strings: [[UInt8]]) {
        edges = [Edge](repeating: Edge(key: Edge.empty, node: 0, value: -1), count: 16)
        shift = 60
        for (index, string) in strings.enumerated() {
            guard let first = string.first else { continue }
            isFirstByte[Int(first)] = true
            var node: UInt32 = 0
            var slot = 0
            for byte in string {
                slot = insert(Self.key(node, byte))
                node = edges[slot].node
            }
            if edges[slot].value < 0 { edges[slot].value = Int32(truncatingIfNeeded: index) }
        }
    }

    @inline(__always)
    private static func key(_ node: UInt32, _ byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }

    @inline(__always)
    private static func home(of key: UInt64, _ shift: UInt64) -> Int {
        Int(truncatingIfNeeded: ((key ^ (key >> 23)) &* 0x9e37_79b9_7f4a_7c15) >> shift)
    }

    /// The slot of the edge with this key, which is made where there is none.
    private mutating func insert(_ key: UInt64) -> Int {
        if (count + 1) * 3 > edges.count * 2 { grow() }
        var slot = Self.home(of: key, shift)
        while edges[slot].key != Edge.empty {
            if edges[slot].key == key { return slot }
            slot = (slot + 1) & (edges.count - 1)
        }
        count += 1
        edges[slot] = Edge(key: key, node: UInt32(truncatingIfNeeded: count), value: -1)
        return slot
    }

    private mutating func grow() {
        let old = edges
        edges = [Edge](repeating: Edge(key: Edge.empty, node: 0, value: -1), count: old.count * 2)
        shift -= 1
        for edge in old where edge.key != Edge.empty {
            var slot = Self.home(of: edge.key, shift)
            while edges[slot].key != Edge.empty { slot = (slot + 1) & (edges.count - 1) }
            edges[slot] = edge
        }
    }

    func startsWith(_ byte: UInt8) -> Bool { isFirstByte[Int(byte)] }

    /// Steps through the trie without bounds checks.
    struct Reader {
        fileprivate let edges: UnsafePointer<Edge>
        fileprivate let mask: Int
        fileprivate let shift: UInt64

        /// The edge from `node` (0 is the root) by `byte`; its key is `Edge.empty` where there is none.
        @inline(__always)
        func edge(_ node: UInt32, _ byte: UInt8) -> Edge {
            let key = ByteTrie.key(node, byte)
            var slot = ByteTrie.home(of: key, shift)
            while true {
                let edge = edges[slot]
                if edge.key == key || edge.key == Edge.empty { return edge }
                slot = (slot + 1) & mask
            }
        }
    }

    @inline(__always)
    func withReader<Result>(_ body: (Reader) -> Result?) -> Result? {
        edges.withUnsafeBufferPointer { all in
            all.baseAddress.flatMap { body(Reader(edges: $0, mask: all.count - 1, shift: shift)) }
        }
    }

    /// The longest string that begins `text` at `start`.
    func longest(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> (index: Int, length: Int)? {
        guard start < text.count, isFirstByte[Int(text[start])] else { return nil }
        return withReader { reader in
            var node: UInt32 = 0
            var best: (Int, Int)?
            var at = start
            while at < text.count {
                let edge = reader.edge(node, text[at])
                guard edge.key != Edge.empty else { break }
                at += 1
                node = edge.node
                if edge.value >= 0 { best = (Int(edge.value), at - start) }
            }
            return best
        }
    }
}
