/// Encoding: words by a scanner, by the borders that no token crosses, or as they are given; each from the cache, else by merges.
extension BytePairModel {
    /// Encodes the bytes of `reader` up to `end`, word by word. Byte-level alphabet.
    func encodeWords<Scanner: WordScanner>(_ reader: ClassReader, _ end: Int, _ scanner: Scanner, _ sink: inout TokenSink) {
        withEncoder { encoder in
            var at = 0
            while at < end {
                let stop = scanner.wordEnd(reader, from: at, to: end)
                encoder.encode(reader.bytes + at, stop - at, isWhole: true, &sink)
                at = stop
            }
        }
    }

    /// Encodes words that were found before.
    func encode(_ text: UnsafeBufferPointer<UInt8>, _ words: [Range<Int>], _ sink: inout TokenSink) {
        guard let base = text.baseAddress else { return }
        withEncoder { encoder in
            for word in words {
                sink.at = word.lowerBound
                encoder.encode(base + word.lowerBound, word.count, isWhole: true, &sink)
            }
        }
    }

    /// Encodes a text in which spaces stand for `▁`, of one word or (`splitsAtSpaces`) with a word beginning at every space.
    ///
    /// It is cut wherever no token reaches across, so that the pieces can be looked up; that changes no token.
    func encodeSpaced(_ text: UnsafeBufferPointer<UInt8>, splitsAtSpaces: Bool, _ sink: inout TokenSink) {
        guard !frozen.isEmpty else { return encodePart(text, splitsAtSpaces: splitsAtSpaces, &sink) }
        var start = 0
        var at = 0
        while at < text.count {
            guard let (index, length) = frozen.longest(text, at) else {
                at += UTF8Scalar.length(text[at])
                continue
            }
            if start < at { encodePart(UnsafeBufferPointer(rebasing: text[start..<at]), splitsAtSpaces: splitsAtSpaces, &sink) }
            sink.append(frozenIDs[index], length: length)
            at += length
            start = at
        }
        if start < text.count { encodePart(UnsafeBufferPointer(rebasing: text[start...]), splitsAtSpaces: splitsAtSpaces, &sink) }
    }

    private func encodePart(_ text: UnsafeBufferPointer<UInt8>, splitsAtSpaces: Bool, _ sink: inout TokenSink) {
        guard let base = text.baseAddress else { return }
        if rules.ignoresMerges, !splitsAtSpaces, let id = vocabulary.find(text) {
            sink.append(Int32(id), length: text.count)
            return
        }
        let unknownIsSeparate = unknown == nil || !rules.fusesUnknown
        withEncoder { encoder in
            var start = 0
            var at = 0
            var previous: UInt32 = 0
            while at < text.count {
                let (value, length) = UTF8Scalar.read(text, at)
                if at > start, splitsAtSpaces && value == 0x20 || !neighbours.contains(previous, value) {
                    let isBorder = splitsAtSpaces && value == 0x20
                    if isBorder || unknownIsSeparate || scalarIDs.id(of: previous) >= 0 || scalarIDs.id(of: value) >= 0 {
                        encoder.encode(base + start, at - start, isWhole: splitsAtSpaces, &sink)
                        start = at
                    }
                }
                previous = value
                at += length
            }
            if start < at { encoder.encode(base + start, at - start, isWhole: splitsAtSpaces, &sink) }
        }
    }

    private func withEncoder(_ body: (WordEncoder) -> Void) {
        withCache { cache in
            cache.slots.withUnsafeMutableBufferPointer { slots in
                merges.slots.withUnsafeBufferPointer { table in
                    lengths.withUnsafeBufferPointer { lengths in
                        guard let mergeSlots = table.baseAddress else { return }
                        let merger = Merger(slots: mergeSlots, mask: table.count - 1, shift: merges.shift)
                        body(WordEncoder(model: self, slots: slots, merger: merger, lengths: lengths))
                    }
                }
            }
        }
    }
}

/// Encodes words with a cache and the merge table at hand.
private struct WordEncoder {
    let model: BytePairModel
    let slots: UnsafeMutableBufferPointer<WordCache.Slot>
    let merger: Merger
    let lengths: UnsafeBufferPointer<UInt32>

    /// - Parameter isWhole: false for a piece of a word, which is not looked up as a whole where merges are ignored.
    @inline(__always)
    func encode(_ word: UnsafePointer<UInt8>, _ count: Int, isWhole: Bool, _ sink: inout TokenSink) {
        guard count <= WordCache.longestWord, count > 0 else {
            _ = mergeWord(word, count, isWhole, &sink)
            return
        }
        let (low, high) = WordCache.key(word, count)
        let slot = WordCache.slot(low, high, count)
        let cached = slots[slot]
        if cached.length == UInt8(truncatingIfNeeded: count), cached.low == low, cached.high == high {
            if sink.wantsRanges {
                for i in 0..<Int(cached.count) { sink.append(cached.ids[i], length: Int(lengths[Int(cached.ids[i])])) }
            } else {
                for i in 0..<Int(cached.count) { sink.ids.append(cached.ids[i]) }
            }
            return
        }
        let before = sink.ids.count
        guard mergeWord(word, count, isWhole, &sink) else { return }
        let made = sink.ids.count - before
        guard made <= 4 else { return }
        var entry = WordCache.Slot(low: low, high: high, length: UInt8(count), count: UInt8(made))
        for i in 0..<made { entry.ids[i] = sink.ids[before + i] }
        slots[slot] = entry
    }

    /// - Returns: whether the tokens may be kept: each stands for as many bytes as its text has.
    @inline(never)
    private func mergeWord(_ word: UnsafePointer<UInt8>, _ count: Int, _ isWhole: Bool, _ sink: inout TokenSink) -> Bool {
        if model.rules.ignoresMerges, isWhole, let id = model.vocabulary.find(UnsafeBufferPointer(start: word, count: count)) {
            sink.append(Int32(id), length: count)
            return true
        }
        return withUnsafeTemporaryAllocation(of: Merger.Symbol.self, capacity: max(count, 1)) { symbols in
            var builder = SymbolBuilder(symbols: symbols)
            if model.rules.isByteLevel { model.appendBytes(word, count, to: &builder) } else { model.appendScalars(word, count, to: &builder) }
            let left = merger.merge(UnsafeMutableBufferPointer(rebasing: symbols[0..<builder.used]))
            for i in 0..<left {
                let id = Int32(bitPattern: symbols[i].id)
                if let parts = model.resegmented[id] {
                    for part in parts { sink.append(part, length: Int(lengths[Int(part)])) }
                } else {
                    sink.append(id, length: Int(symbols[i].length))
                }
            }
            return builder.isExact && !model.rules.hasAffixes
        }
    }
}

/// A word's symbols before they are merged.
struct SymbolBuilder {
    let symbols: UnsafeMutableBufferPointer<Merger.Symbol>
    var used = 0
    /// Every symbol stands for as many bytes as its text has.
    var isExact = true
    /// Bytes of unknown symbols that wait for their token.
    private var waiting = 0

    init(symbols: UnsafeMutableBufferPointer<Merger.Symbol>) { self.symbols = symbols }

    @inline(__always)
    mutating func append(_ id: Int32, _ length: Int) {
        let symbol = Merger.Symbol(id: UInt32(bitPattern: id), rank: MergeTable.none, merged: 0, length: UInt32(truncatingIfNeeded: length))
        symbols.initializeElement(at: used, to: symbol)
        used += 1
    }

    /// Notes an unknown symbol; without an unknown token it is left out.
    mutating func noteUnknown(_ length: Int, unknown: Int32?, fuses: Bool) {
        isExact = false
        guard let unknown else { return }
        if waiting > 0, !fuses { flush(unknown) }
        waiting += length
    }

    @inline(__always)
    mutating func flush(_ unknown: Int32?) {
        guard waiting > 0, let unknown else { return }
        append(unknown, waiting)
        waiting = 0
    }
}

extension BytePairModel {
    fileprivate func appendBytes(_ word: UnsafePointer<UInt8>, _ count: Int, to builder: inout SymbolBuilder) {
        for i in 0..<count {
            let id = byteIDs[Int(word[i])]
            if id >= 0 {
                builder.flush(unknown)
                builder.append(id, 1)
            } else {
                builder.noteUnknown(1, unknown: unknown, fuses: rules.fusesUnknown)
            }
        }
        builder.flush(unknown)
    }

    fileprivate func appendScalars(_ word: UnsafePointer<UInt8>, _ count: Int, to builder: inout SymbolBuilder) {
        let text = UnsafeBufferPointer(start: word, count: count)
        var at = 0
        while at < count {
            let (value, length) = UTF8Scalar.read(text, at)
            let bytes = UnsafeBufferPointer(rebasing: text[at..<at + length])
            let id = rules.hasAffixes ? affixed(bytes, isFirst: at == 0, isLast: at + length == count) : scalarIDs.id(of: value)
            at += length
            if id >= 0 {
                builder.flush(unknown)
                builder.append(id, length)
            } else if rules.fallsBackToBytes, bytes.allSatisfy({ byteIDs[Int($0)] >= 0 }) {
                // As the library: unknown symbols that wait are not written before bytes.
                for byte in bytes { builder.append(byteIDs[Int(byte)], 1) }
            } else {
                builder.noteUnknown(length, unknown: unknown, fuses: rules.fusesUnknown)
            }
        }
        builder.flush(unknown)
    }

    /// The token of a scalar with the affixes of its place; -1 without one.
    private func affixed(_ scalar: UnsafeBufferPointer<UInt8>, isFirst: Bool, isLast: Bool) -> Int32 {
        var text = isFirst ? [] : Array(rules.continuingPrefix.utf8)
        text += scalar
        if isLast { text += rules.wordSuffix.utf8 }
        return vocabulary.find(text).map { Int32($0) } ?? -1
    }
}
