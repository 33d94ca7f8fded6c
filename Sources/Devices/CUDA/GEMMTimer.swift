import LorikeetGround

/// Measures cuBLASLt's algorithms for a matrix product on a card and remembers the fastest on disk, by the card's name and the library's
/// version.
final class GEMMTimer {
    /// Algorithms that are measured for a product, at most.
    static let maximumCandidates = 8
    private static let repeats = 5
    /// An algorithm replaces the first proposal only where it is faster by this factor: smaller differences are noise.
    private static let gain = 1.01

    private let memory: CardMemory
    private var driver: Driver { memory.driver }
    private let cache: KernelCache
    private let name: String
    /// nil until they are read.
    private var kept: [String: Int]?

    init(_ memory: CardMemory, _ cache: KernelCache) {
        (self.memory, self.cache) = (memory, cache)
        name = "products of \(memory.card.name)"
    }

    /// The index of the fastest of `candidates` algorithms for a product: as it was measured before, else measured now.
    ///
    /// - Parameters:
    ///   - extra: bytes of the output where measuring must not write to it, because the product adds to it and each repetition would add
    ///     again; a copy of that size is written instead. Where the card has no memory for it, the first algorithm is taken. nil writes to
    ///     the output.
    ///   - run: runs an algorithm once; `scratch` is where to write instead of the output. A status other than 0 rules the algorithm out.
    func fastest(_ product: String, candidates: Int, extra: Int?, stream: OpaquePointer?, run: (_ candidate: Int, _ scratch: UInt64?) -> Int32) throws -> Int {
        var known = kept ?? read()
        kept = known
        if let index = known[product] { return index }
        guard candidates > 1 else { return 0 }
        var scratch: CardResource<UInt64>?
        if let extra {
            guard let room = try? memory.block(bytes: extra) else { return 0 }
            scratch = room
        }
        defer { withExtendedLifetime(scratch) {} }
        let seconds = try (0..<candidates).map { candidate in try time(stream) { run(candidate, scratch?.handle) } }
        var best = 0
        for candidate in 1..<candidates where seconds[candidate] * Float(Self.gain) < seconds[0] && seconds[candidate] < seconds[best] {
            best = candidate
        }
        known[product] = best
        kept = known
        cache.write(name, Array(known.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)\n" }.joined().utf8))
        return best
    }

    /// Milliseconds of `repeats` runs; infinite for an algorithm that fails.
    private func time(_ stream: OpaquePointer?, _ run: () -> Int32) throws -> Float {
        let (start, end) = (try memory.context.event(), try memory.context.event())
        defer { withExtendedLifetime((start, end)) {} }
        // Once to warm up.
        guard run() == 0 else { return .infinity }
        try driver.check(driver.eventRecord(start.handle, stream), "cuEventRecord")
        for _ in 0..<Self.repeats { guard run() == 0 else { return .infinity } }
        try driver.check(driver.eventRecord(end.handle, stream), "cuEventRecord")
        try driver.check(driver.eventSynchronize(end.handle), "cuEventSynchronize")
        var milliseconds: Float = 0
        try driver.check(driver.eventElapsed(&milliseconds, start.handle, end.handle), "cuEventElapsedTime")
        return milliseconds
    }

    private func read() -> [String: Int] {
        var found: [String: Int] = [:]
        for line in String(decoding: cache.read(name) ?? [], as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            if parts.count == 2, let index = Int(parts[0]), (0..<Self.maximumCandidates).contains(index) { found[String(parts[1])] = index }
        }
        return found
    }
}
