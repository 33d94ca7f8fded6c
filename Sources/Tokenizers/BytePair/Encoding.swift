/// Encoding: added tokens are found first; the text between them is encoded word by word.
extension BytePairModel {
    /// The ids of valid UTF-8, and the byte range of each where `wantsRanges`.
    func encode(_ text: UnsafeBufferPointer<UInt8>, parseSpecial: Bool, wantsRanges: Bool) -> TokenizedText {
        guard let base = text.baseAddress, text.count > 0 else { return TokenizedText() }
        var ids = TokenSink(ranges: wantsRanges ? [] : nil)
        ids.ids.reserveCapacity(text.count / 3 + 4)
        classes.withUnsafeBufferPointer { classes in
            guard let table = classes.baseAddress else { return }
            let reader = ClassReader(bytes: base, classes: table)
            var at = 0
            while let match = added.next(in: text, from: at, parseSpecial: parseSpecial, reader: reader) {
                ids.begin(at)
                encodeSpan(UnsafeBufferPointer(rebasing: text[at..<match.start]), table, isFirst: at == 0, &ids)
                ids.append(added.tokens[match.token].id, range: match.start..<match.end)
                at = match.end
            }
            ids.begin(at)
            encodeSpan(UnsafeBufferPointer(rebasing: text[at...]), table, isFirst: at == 0, &ids)
        }
        return TokenizedText(ids: ids.ids, ranges: ids.ranges ?? [])
    }

    /// Encodes text between two added tokens: normalisation, the alphabet's prefix, splitting into words, merging.
    ///
    /// - Parameter isFirst: whether the text begins here; some tokenizers put their prefix there alone.
    private func encodeSpan(
        _ text: UnsafeBufferPointer<UInt8>, _ classes: UnsafePointer<UInt8>, isFirst: Bool, _ ids: inout TokenSink
    ) {
        guard text.count > 0 else { return }
        if rules.normalizesNFC, Normalization.mayNeedNFC(text) {
            let normal = Normalization.nfc(text)
            normal.withUnsafeBufferPointer { encodeNormal($0, classes, isFirst: isFirst, &ids) }
            if ids.ranges != nil { ids.place(in: text, sources: Normalization.nfcSources(text)) }
        } else {
            encodeNormal(text, classes, isFirst: isFirst, &ids)
            ids.place(in: text, sources: nil)
        }
    }

    private func encodeNormal(
        _ text: UnsafeBufferPointer<UInt8>, _ classes: UnsafePointer<UInt8>, isFirst: Bool, _ ids: inout TokenSink
    ) {
        guard case .byteLevel(let pattern) = rules.alphabet else {
            encodeSentencePiece(text, isFirst: isFirst, &ids)
            return
        }
        if needsPrefix(text, isFirst: isFirst, space: [0x20]) {
            ids.prefixLength = 1
            ([0x20] + text).withUnsafeBufferPointer { encodeWords($0, classes, pattern, &ids) }
        } else {
            encodeWords(text, classes, pattern, &ids)
        }
    }

    func needsPrefix(_ text: UnsafeBufferPointer<UInt8>, isFirst: Bool, space: [UInt8]) -> Bool {
        switch rules.prefix {
        case .never: return false
        case .atStart where !isFirst: return false
        default: return !(rules.prefixOnlyIfMissing && (text.starts(with: space) || text[0] == 0x20))
        }
    }

    private func encodeWords(
        _ text: UnsafeBufferPointer<UInt8>, _ classes: UnsafePointer<UInt8>, _ pattern: SplitPattern, _ ids: inout TokenSink
    ) {
        guard let base = text.baseAddress else { return }
        let reader = ClassReader(bytes: base, classes: classes)
        switch pattern {
        case .gpt2: encodeWords(reader, text.count, GPT2Scanner(), &ids)
        case .digitsThenGPT2(let decimalOnly):
            encodeWords(reader, text.count, DigitsScanner(decimalOnly: decimalOnly), &ids)
        case .contractionsAnyCase(let run):
            encodeWords(reader, text.count, ContractionsAnyCaseScanner(numberRun: run), &ids)
        }
    }

    /// The hot loop: next word, cache, else merges.
    private func encodeWords<Scanner: WordScanner>(
        _ reader: ClassReader, _ end: Int, _ scanner: Scanner, _ ids: inout TokenSink
    ) {
        withCache { cache in
            cache.slots.withUnsafeMutableBufferPointer { slots in
                merges.slots.withUnsafeBufferPointer { table in
                    guard let mergeSlots = table.baseAddress else { return }
                    let merger = Merger(slots: mergeSlots, mask: table.count - 1, shift: merges.shift)
                    var at = 0
                    while at < end {
                        let stop = scanner.wordEnd(reader, from: at, to: end)
                        encodeWord(reader.bytes + at, stop - at, slots, merger, &ids)
                        at = stop
                    }
                }
            }
        }
    }

    @inline(__always)
    private func encodeWord(
        _ word: UnsafePointer<UInt8>, _ count: Int, _ slots: UnsafeMutableBufferPointer<WordCache.Slot>,
        _ merger: Merger, _ ids: inout TokenSink
    ) {
        guard count <= WordCache.longestWord, ids.ranges == nil else {
            mergeWord(word, count, merger, &ids)
            return
        }
        let (low, high) = WordCache.key(word, count)
        let slot = WordCache.slot(low, high, count)
        let cached = slots[slot]
        if cached.length == UInt8(truncatingIfNeeded: count), cached.low == low, cached.high == high {
            for i in 0..<Int(cached.count) { ids.ids.append(cached.ids[i]) }
            return
        }
        let before = ids.ids.count
        mergeWord(word, count, merger, &ids)
        let made = ids.ids.count - before
        guard made <= 4 else { return }
        var entry = WordCache.Slot(low: low, high: high, length: UInt8(count), count: UInt8(made))
        for i in 0..<made { entry.ids[i] = ids.ids[before + i] }
        slots[slot] = entry
    }

    @inline(never)
    private func mergeWord(_ word: UnsafePointer<UInt8>, _ count: Int, _ merger: Merger, _ ids: inout TokenSink) {
        if rules.ignoresMerges, let id = vocabulary.find(UnsafeBufferPointer(start: word, count: count)) {
            ids.append(Int32(id), length: count)
            return
        }
        withUnsafeTemporaryAllocation(of: Merger.Symbol.self, capacity: count) { symbols in
            var used = 0
            for i in 0..<count {
                var id = byteIDs[Int(word[i])]
                if id < 0 {
                    // A byte without a token: the unknown token where there is one, else nothing.
                    guard let unknown else { continue }
                    if rules.fusesUnknown, i > 0, byteIDs[Int(word[i - 1])] < 0 {
                        symbols[used - 1].length += 1
                        continue
                    }
                    id = unknown
                }
                symbols.initializeElement(at: used, to: Merger.Symbol(id: UInt32(bitPattern: id), rank: MergeTable.none, merged: 0, length: 1))
                used += 1
            }
            let left = merger.merge(UnsafeMutableBufferPointer(rebasing: symbols[0..<used]))
            for i in 0..<left { ids.append(Int32(bitPattern: symbols[i].id), length: Int(symbols[i].length)) }
        }
    }

    /// SentencePiece's way: spaces become `▁`, scalars without a token fall back to bytes, and the stretch is one word.
    private func encodeSentencePiece(_ text: UnsafeBufferPointer<UInt8>, isFirst: Bool, _ ids: inout TokenSink) {
        let metaspace: [UInt8] = [0xE2, 0x96, 0x81]
        var spaced: [UInt8] = []
        spaced.reserveCapacity(text.count + text.count / 2 + 3)
        if needsPrefix(text, isFirst: isFirst, space: metaspace) {
            spaced.append(contentsOf: metaspace)
            ids.prefixLength = 1
        }
        // A `▁` that stands for a space of the text counts as one byte, the text's own as three.
        var spaces = [Bool](repeating: false, count: spaced.count)
        for byte in text {
            if byte == 0x20 { spaced.append(contentsOf: metaspace) } else { spaced.append(byte) }
            spaces.append(byte == 0x20)
            if byte == 0x20 { spaces += [false, false] }
        }
        var symbols: [Merger.Symbol] = []
        symbols.reserveCapacity(spaced.count)
        func append(_ id: Int32, _ length: Int) {
            symbols.append(
                Merger.Symbol(id: UInt32(bitPattern: id), rank: MergeTable.none, merged: 0, length: UInt32(truncatingIfNeeded: length)))
        }
        var at = 0
        var lastWasUnknown = false
        while at < spaced.count {
            let length = spaced[at] < 0x80 ? 1 : spaced[at] < 0xE0 ? 2 : spaced[at] < 0xF0 ? 3 : 4
            let scalar = spaced[at..<min(at + length, spaced.count)]
            if rules.splitsAtSpaces, scalar.elementsEqual(metaspace) { flush(&symbols, &ids) }
            let bytes = spaces[at] || at < ids.prefixLength ? 1 : length
            at += length
            if let id = scalar.withUnsafeBufferPointer({ vocabulary.find($0) }) {
                append(Int32(id), bytes)
            } else if rules.fallsBackToBytes, scalar.allSatisfy({ byteIDs[Int($0)] >= 0 }) {
                for byte in scalar { append(byteIDs[Int(byte)], 1) }
            } else if let unknown {
                if rules.fusesUnknown, lastWasUnknown, let last = symbols.indices.last {
                    symbols[last].length += UInt32(bytes)
                } else {
                    append(unknown, bytes)
                }
                lastWasUnknown = true
                continue
            }
            lastWasUnknown = false
        }
        flush(&symbols, &ids)
    }

    /// Merges what has been gathered and empties it.
    private func flush(_ symbols: inout [Merger.Symbol], _ ids: inout TokenSink) {
        merges.slots.withUnsafeBufferPointer { table in
            guard let mergeSlots = table.baseAddress else { return }
            let merger = Merger(slots: mergeSlots, mask: table.count - 1, shift: merges.shift)
            let left = symbols.withUnsafeMutableBufferPointer { merger.merge($0) }
            for symbol in symbols[0..<left] { ids.append(Int32(bitPattern: symbol.id), length: Int(symbol.length)) }
        }
        symbols.removeAll(keepingCapacity: true)
    }
}
