/// The samples of a micro-batch, in families: what the samples of a family begin with is in the micro-batch once.
package struct SampleGroup: Sendable, Equatable {
    package struct Family: Sendable, Equatable {
        /// Tokens that all members begin with; 0 where there is nothing to share. None of them predicts a trained token.
        package var shared: Int
        package var members: [Member]

        package init(shared: Int, members: [Member]) { (self.shared, self.members) = (shared, members) }

        /// Rows of the family: the shared ones, and what each member has beside them.
        package var rows: Int { shared + members.reduce(0) { $0 + $1.rows - shared } }
    }

    /// A sample: its index, its first tokens that have to be computed, and those with a loss.
    package struct Member: Sendable, Equatable {
        package let index: Int
        package let rows: Int
        package let trained: Int

        package init(index: Int, rows: Int, trained: Int) { (self.index, self.rows, self.trained) = (index, rows, trained) }
    }

    package var families: [Family]

    package init(families: [Family] = []) { self.families = families }

    package var rows: Int { families.reduce(0) { $0 + $1.rows } }
    package var trained: Int { families.reduce(0) { $0 + $1.members.reduce(0) { $0 + $1.trained } } }
}

extension SampleSet {
    /// Samples whose prefixes are looked for among each other: few enough to be in memory at once.
    private static let searched = 1024

    /// The micro-batches of an evaluation; evaluating and planning take them from here.
    ///
    /// With `sharing`, what several samples begin with (a system message and the template, say) is in a micro-batch once, and tokens behind a
    /// sample's last prediction are left out. Samples are looked at by 1,024, sorted by their tokens. Without it, whole samples are packed as for training.
    ///
    /// - Parameter tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
    /// - Throws: exit 4 when samples cannot be read.
    package func evaluationGroups(tokensPerBatch: Int, sharing: Bool) throws -> [SampleGroup] {
        guard sharing else { return .whole(lengths, tokensPerBatch: tokensPerBatch) }
        var groups: [SampleGroup] = []
        for first in stride(from: 0, to: count, by: Self.searched) {
            let samples = try (first..<Swift.min(count, first + Self.searched)).map { (index: $0, sample: try sample(at: $0)) }
            groups.add(samples, tokensPerBatch: tokensPerBatch)
        }
        return groups
    }
}

extension [SampleGroup] {
    /// Whole samples of these lengths, packed by first fit (see `packedGroups`).
    ///
    /// - Parameter packing: false gives every sample a micro-batch of its own.
    package static func whole(_ lengths: [SampleLength], tokensPerBatch: Int, packing: Bool = true) -> [SampleGroup] {
        packedGroups(lengths: lengths.map(\.tokens), tokensPerBatch: tokensPerBatch, packing: packing).map { group in
            SampleGroup(families: group.map { .init(shared: 0, members: [.init(index: $0, rows: lengths[$0].tokens, trained: lengths[$0].trained)]) })
        }
    }

    /// The micro-batches of one optimiser step in which samples share what they begin with; training and planning take them from here. Members are
    /// indices into `samples`. Samples without a trained token are left out, unless there are no others.
    ///
    /// - Parameter tokensPerBatch: rows that a micro-batch may have; only one that holds a single longer sample has more.
    package static func sharing(_ samples: [TokenSample], tokensPerBatch: Int) -> [SampleGroup] {
        var groups: [SampleGroup] = []
        groups.add(samples.enumerated().map { (index: $0.offset, sample: $0.element) }, tokensPerBatch: tokensPerBatch)
        return groups.isEmpty ? whole(samples.map { SampleLength(tokens: $0.ids.count, trained: 0) }, tokensPerBatch: tokensPerBatch) : groups
    }

    /// Appends the families that leave the fewest rows to be computed, by the tokens that neighbours in alphabetical order share.
    fileprivate mutating func add(_ samples: [(index: Int, sample: TokenSample)], tokensPerBatch: Int) {
        // A sample without a trained token adds nothing to a loss.
        let sorted = samples.filter { $0.sample.trained.dropFirst().contains(true) }.sorted { ($0.sample.ids, $0.index) < ($1.sample.ids, $1.index) }
        let common = zip(sorted, sorted.dropFirst()).map { $0.sample.sharedTokens(with: $1.sample) }
        // Rows of the micro-batches that may have room, from place `first` on.
        let first = Swift.max(0, count - 1)
        var rows = self[first...].map(\.rows)
        for range in Self.split(0..<sorted.count, common) {
            let members = range.map { place in
                let sample = sorted[place].sample
                return SampleGroup.Member(index: sorted[place].index, rows: sample.predictingTokens, trained: sample.trainedCount)
            }
            let family = SampleGroup.Family(shared: range.count > 1 ? common[range.dropLast()].min() ?? 0 : 0, members: members)
            // First fit, as for whole samples; a family that fits nowhere is cut.
            if let place = rows.firstIndex(where: { $0 + family.rows <= tokensPerBatch }) {
                self[first + place].families.append(family)
                rows[place] += family.rows
            } else {
                add(family, tokensPerBatch: tokensPerBatch)
                rows = self[first...].map(\.rows)
            }
        }
    }

    /// Cuts sorted samples into families: a range stays whole where that saves at least as many rows as its parts, cut where neighbours share least.
    ///
    /// - Parameter common: tokens that each sample shares with the next.
    private static func split(_ range: Range<Int>, _ common: [Int]) -> [Range<Int>] {
        // Ranges are cut until one sample is left, and joined again from there: first the cuts, outermost first.
        var cuts: [(range: Range<Int>, parts: (Int, Int))] = []
        var results: [(saved: Int, families: [Range<Int>])] = []
        var waiting = range.isEmpty ? [] : [range]
        var places: [Range<Int>: Int] = [:]
        while let next = waiting.popLast() {
            guard next.count > 1, let cut = next.dropLast().min(by: { (common[$0], $0) < (common[$1], $1) }) else {
                places[next] = results.count
                results.append((0, [next]))
                continue
            }
            cuts.append((next, (cut + 1, common[cut])))
            waiting += [next.lowerBound..<cut + 1, cut + 1..<next.upperBound]
        }
        for (range, (middle, shared)) in cuts.reversed() {
            guard let left = places[range.lowerBound..<middle], let right = places[middle..<range.upperBound] else { continue }
            let parts = results[left].saved + results[right].saved
            let whole = (range.count - 1) * shared
            places[range] = results.count
            results.append(whole > 0 && whole >= parts ? (whole, [range]) : (parts, results[left].families + results[right].families))
        }
        return places[range].map { results[$0].families } ?? []
    }

    /// Appends a family, cut where a micro-batch is full: its shared tokens are in each that holds members.
    private mutating func add(_ family: SampleGroup.Family, tokensPerBatch: Int) {
        var open = false
        for member in family.members {
            let own = member.rows - family.shared
            let rows = last?.rows ?? 0
            if open, rows + own <= tokensPerBatch, let place = indices.last {
                self[place].families[self[place].families.count - 1].members.append(member)
                continue
            }
            if isEmpty || rows + member.rows > tokensPerBatch { append(SampleGroup()) }
            self[count - 1].families.append(.init(shared: family.shared, members: [member]))
            open = true
        }
    }
}

extension TokenSample {
    /// Tokens whose rows predict a trained token or are seen by such a row: those before the last trained one.
    fileprivate var predictingTokens: Int { trained.lastIndex(of: true) ?? 0 }

    /// Tokens that both samples begin with, up to the first that predicts a trained one in either.
    fileprivate func sharedTokens(with other: TokenSample) -> Int {
        func untrained(_ sample: TokenSample) -> Int { max(0, (sample.trained.dropFirst().firstIndex(of: true) ?? 1) - 1) }
        return zip(ids, other.ids).prefix(min(untrained(self), untrained(other))).prefix { $0 == $1 }.count
    }
}

/// The alphabetical order of samples by their tokens, of equal ones by their index.
private func < (a: ([Int32], Int), b: ([Int32], Int)) -> Bool {
    a.0 == b.0 ? a.1 < b.1 : a.0.lexicographicallyPrecedes(b.0)
}
