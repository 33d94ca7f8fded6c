/// Encoding: words by a scanner, by the borders that no token crosses, or as they are given; each from the cache, else by merges.
extension BytePairModel {
    /// Words whose slots are prefetched together, before the first of them is looked up.
    private static let wordsAhead = 16

    /// Encodes the bytes of `reader` up to `end`, word by word. Byte-level alphabet.
    func encodeWords<Scanner: WordScanner>(_ reader: ClassReader, _ end: Int, _ scanner: Scanner, _ sink: inout TokenSink) {
        withEncoder(sink.cache) { encoder in
            withUnsafeTemporaryAllocation(of: WordCache.Place.self, capacity: Self.wordsAhead) { places in
                var at = 0
                while at < end {
                    var found = 0
                    var long = 0
                    while found < Self.wordsAhead, at < end, long == 0 {
                        let stop = scanner.wordEnd(reader, from: at, to: end)
                        if stop - at <= WordCache.longestWord {
                            places.initializeElement(at: found, to: encoder.slots.place(of: reader.bytes + at, stop - at))
                            found += 1
                        } else {
                            long = stop - at
                        }
                        at = stop
                    }
                    for i in 0..<found { encoder.encode(places[i], isWhole: true, &sink) }
                    if long > 0 { encoder.encode(reader.bytes + at - long, long, isWhole: true, &sink) }
                }
            }
        }
    }

    /// Encodes words that were found before.
    func encode(_ text: UnsafeBufferPointer<UInt8>, _ words: [Range<Int>], _ sink: inout TokenSink) {
        guard let base = text.baseAddress else { return }
        withEncoder(sink.cache) { encoder in
            withUnsafeTemporaryAllocation(of: WordCache.Place.self, capacity: Self.wordsAhead) { places in
                var first = 0
                while first < words.count {
                    let end = min(first + Self.wordsAhead, words.count)
                    for i in first..<end where 1...WordCache.longestWord ~= words[i].count {
                        places.initializeElement(at: i - first, to: encoder.slots.place(of: base + words[i].lowerBound, words[i].count))
                    }
                    for i in first..<end {
                        sink.at = words[i].lowerBound
                        if 1...WordCache.longestWord ~= words[i].count {
                            encoder.encode(places[i - first], isWhole: true, &sink)
                        } else {
                            encoder.encode(base + words[i].lowerBound, words[i].count, isWhole: true, &sink)
                        }
                    }
                    first = end
                }
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
        let origin = sink.at
        withEncoder(sink.cache) { encoder in
            var start = 0
            var startsWord = true
            var at = 0
            var previous: UInt32 = 0
            while at < text.count {
                let (value, length) = UTF8Scalar.read(text, at)
                let isBorder = splitsAtSpaces && value == 0x20
                // A scalar that is left out stands between neighbours.
                if unknown == nil, !isBorder, isLeftOut(value, UnsafeBufferPointer(rebasing: text[at..<at + length])) {
                    at += length
                    continue
                }
                if at > start, isBorder || !neighbours.contains(previous, value),
                    isBorder || unknownIsSeparate || scalarIDs.id(of: previous) >= 0 || scalarIDs.id(of: value) >= 0
                {
                    encoder.encode(base + start, at - start, isWhole: splitsAtSpaces && startsWord && isBorder, isSplit: splitsAtSpaces, &sink)
                    if isBorder { sink.at = origin + at }
                    start = at
                    startsWord = isBorder
                }
                previous = value
                at += length
            }
            if start < at { encoder.encode(base + start, at - start, isWhole: splitsAtSpaces && startsWord, isSplit: splitsAtSpaces, &sink) }
        }
    }

    private func isLeftOut(_ value: UInt32, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        scalarIDs.id(of: value) < 0 && !(rules.fallsBackToBytes && bytes.allSatisfy { byteIDs[Int($0)] >= 0 })
    }

    /// Runs `body` with what encodes words; without a cache with an empty one.
    private func withEncoder(_ cache: WordCache?, _ body: (WordEncoder) -> Void) {
        (cache ?? WordCache()).withSlots { slots in
            merges.slots.withUnsafeBufferPointer { table in
                guard let mergeSlots = table.baseAddress else { return }
                let merger = Merger(slots: mergeSlots, mask: table.count - 1, shift: merges.shift)
                body(WordEncoder(model: self, slots: slots, merger: merger))
            }
        }
    }
}

/// Encodes words with a cache and the merge table at hand.
private struct WordEncoder {
    unowned(unsafe) let model: BytePairModel
    let slots: WordCache.Slots
    let merger: Merger

    /// - Parameters:
    ///   - isWhole: false for a piece of a word, which is not looked up as a whole where merges are ignored.
    ///   - isSplit: pieces of words are encoded beside whole words.
    @inline(__always)
    func encode(_ word: UnsafePointer<UInt8>, _ count: Int, isWhole: Bool, isSplit: Bool = false, _ sink: inout TokenSink) {
        guard count <= WordCache.longestWord, count > 0, isWhole || !isSplit || !model.rules.ignoresMerges else {
            _ = mergeWord(word, count, isWhole, nil, &sink)
            return
        }
        encode(slots.place(of: word, count), isWhole: isWhole, &sink)
    }

    /// Encodes a word of at most `longestWord` bytes.
    @inline(__always)
    func encode(_ place: WordCache.Place, isWhole: Bool, _ sink: inout TokenSink) {
        let (slot, isFound) = place.find()
        if isFound {
            if sink.wantsRanges {
                for i in 0..<slot.count { sink.append(slot.id(i), length: slot.length(i)) }
            } else {
                for i in 0..<slot.count { sink.ids.append(slot.id(i)) }
            }
            return
        }
        slot.finish(word: place.count, tokens: mergeWord(place.word, place.count, isWhole, slot, &sink))
    }

    /// - Returns: how many tokens the word has, all of which were noted in `slot`.
    @inline(never)
    private func mergeWord(_ word: UnsafePointer<UInt8>, _ count: Int, _ isWhole: Bool, _ slot: WordCache.Slot?, _ sink: inout TokenSink) -> Int {
        var made = 0
        func append(_ id: Int32, _ length: Int) {
            sink.append(id, length: length)
            slot?.note(id, length: length, at: made)
            made += 1
        }
        if model.rules.ignoresMerges, isWhole, let id = model.vocabulary.find(UnsafeBufferPointer(start: word, count: count)) {
            append(Int32(id), count)
            return made
        }
        return withUnsafeTemporaryAllocation(of: Merger.Symbol.self, capacity: max(count, 1)) { symbols in
            var builder = SymbolBuilder(symbols: symbols)
            if model.rules.isByteLevel { model.appendBytes(word, count, to: &builder) } else { model.appendScalars(word, count, to: &builder) }
            let left = merger.merge(UnsafeMutableBufferPointer(rebasing: symbols[0..<builder.used]))
            for i in 0..<left {
                let id = Int32(bitPattern: symbols[i].id)
                if let parts = model.resegmented[id] {
                    for part in parts { append(part, Int(model.lengths[Int(part)])) }
                } else {
                    append(id, Int(symbols[i].length))
                }
            }
            return made
        }
    }
}

/// A word's symbols before they are merged.
struct SymbolBuilder {
    let symbols: UnsafeMutableBufferPointer<Merger.Symbol>
    var used = 0
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
