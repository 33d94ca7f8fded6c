import LorikeetGround
import LorikeetTokenizers

/// A sample as a worker hands it over: encoded, measured, and compared by its fingerprint.
struct MadeSample: Sendable {
    let bytes: [UInt8]
    let entry: SampleSet.Entry
    let heldOut: (bytes: [UInt8], entry: HeldOutSet.Entry)?
    let fingerprint: Fingerprint
    let startsTwice: Bool
    let result: SampleMaker.Result

    init(_ result: SampleMaker.Result, bos: Int32?) {
        let sample = result.sample
        var bytes: [UInt8] = []
        bytes.reserveCapacity(SampleCode.byteCount(tokens: sample.ids.count))
        SampleCode.append(sample, to: &bytes)
        self.bytes = bytes
        entry = SampleSet.Entry(sample, offset: 0)
        heldOut = result.heldOut.map { row in
            var bytes: [UInt8] = []
            SampleCode.append(row.promptIDs, to: &bytes)
            bytes += row.promptText.utf8
            bytes += row.answer.utf8
            let entry = HeldOutSet.Entry(
                offset: 0, record: Int32(clamping: row.record), promptTokens: Int32(clamping: row.promptIDs.count),
                promptBytes: Int32(clamping: row.promptText.utf8.count), answerBytes: Int32(clamping: row.answer.utf8.count))
            return (bytes, entry)
        }
        fingerprint = Fingerprint(sample)
        startsTwice = bos.map { sample.ids.count > 1 && sample.ids[0] == $0 && sample.ids[1] == $0 } ?? false
        var result = result
        // Its tokens are in `bytes`.
        result.sample = TokenSample(record: sample.record, ids: [], trained: [])
        result.heldOut = nil
        self.result = result
    }
}

/// Gathers one split: its samples, and what the data report says about them.
struct SplitCounter {
    /// Unusable records that are named.
    private static let named = 5
    /// Unread keys that are named.
    private static let namedKeys = 40

    private(set) var entries: [SampleSet.Entry] = []
    private(set) var heldOut: [HeldOutSet.Entry] = []
    private(set) var fingerprints: [Fingerprint] = []
    private(set) var seen = Set<Fingerprint>()
    private(set) var report: DataReport.Split
    private var ignored = Set<String>()
    /// All samples' fingerprints are kept, to be looked for in another split.
    private let keepsFingerprints: Bool

    init(source: String, keepsFingerprints: Bool) {
        report = DataReport.Split(source: source, layout: .text)
        self.keepsFingerprints = keepsFingerprints
    }

    mutating func begin(layout: RecordLayout) { if entries.isEmpty { report.layout = layout } }

    mutating func add(_ made: MadeSample, unread: [String], at place: @autoclosure () -> String, to sink: SampleSink) {
        var entry = made.entry
        entry.offset = sink.append(made.bytes)
        entries.append(entry)
        if let (bytes, row) = made.heldOut {
            var row = row
            row.offset = sink.append(bytes)
            heldOut.append(row)
        }
        report.rows += 1
        report.samples += 1
        report.trainedTokens += Int(entry.trained)
        if entry.truncated { report.truncated += 1 }
        if !seen.insert(made.fingerprint).inserted { report.duplicates += 1 }
        if keepsFingerprints { fingerprints.append(made.fingerprint) }
        if made.startsTwice { report.doubleBOS += 1 }
        let result = made.result
        if !result.endIsTrained { report.withoutEnd += 1 }
        if result.endsTwice { report.endsTwice += 1 }
        if result.splitsDiffer { report.splitsDiffer += 1 }
        report.emptyAnswers += result.emptyAnswers
        if result.opensWithAnswer { report.opensWithAnswer += 1 }
        if let text = result.specialInContent {
            report.specialInContent += 1
            if report.firstSpecial == nil { report.firstSpecial = "\(place()): '\(text)'" }
        }
        for key in unread where ignored.count < Self.namedKeys && ignored.insert(key).inserted { report.ignoredKeys.append(key) }
        for key in result.unread where ignored.count < Self.namedKeys && ignored.insert("of messages: " + key).inserted {
            report.ignoredKeys.append("'\(key)' of messages")
        }
    }

    mutating func add(_ unusable: Unusable, at place: @autoclosure () -> String) {
        report.rows += 1
        report.unusable += 1
        if report.firstUnusable.count < Self.named { report.firstUnusable.append(BadRecord(place: place(), reason: unusable.reason, fix: unusable.fix)) }
    }

    mutating func countRows(_ count: Int) { report.rowsInFile += count }

    /// The report, with the rule of `max_bad_records`.
    mutating func finished(_ settings: DatasetSettings, mayBeEmpty: Bool) throws -> DataReport.Split {
        report.lengths = TokenLengths(entries.map { Int($0.tokens) })
        let allowed = Int(settings.maxBadRecords * Double(report.rows))
        guard report.unusable > allowed || entries.isEmpty && !mayBeEmpty else { return report }
        guard let first = report.firstUnusable.first else {
            throw LorikeetError.input("no records are left", at: report.source, fix: "raise max_train_samples")
        }
        let others = report.firstUnusable.dropFirst().map { "; \($0.description)" }.joined()
        let more = report.unusable > report.firstUnusable.count ? "; and \(report.unusable - report.firstUnusable.count) more" : ""
        let count = "\(report.unusable) of \(report.rows) \(report.unusable == 1 && report.rows == 1 ? "record" : "records") cannot be used"
        throw LorikeetError.input(
            "\(first.reason) (\(count), max_bad_records allows \(allowed)\(others)\(more))", at: first.place,
            fix: first.fix ?? "fix or remove these records, or raise max_bad_records")
    }
}

/// A sample's tokens and mask in 128 bits, to find equal samples.
struct Fingerprint: Hashable, Sendable {
    private let mixed: UInt64
    private let fnv: UInt64

    init(_ sample: TokenSample) {
        var mixed: UInt64 = 1
        var fnv = FNV1a()
        for (id, trained) in zip(sample.ids, sample.trained) {
            let word = UInt64(UInt32(bitPattern: id)) << 1 | (trained ? 1 : 0)
            mixed = mix64(mixed ^ word)
            fnv.add(word)
        }
        self.mixed = mixed
        self.fnv = fnv.value
    }
}
