import LorikeetDevices
import LorikeetGround
import MemoryFiles
import Testing

@testable import LorikeetDatasets

/// A narrowed dataset is the one that is loaded with the narrower settings.
struct NarrowingTests {
    /// Records of 2 to 40 characters, a few of them without an answer.
    private static let lines = (0..<200).map { index in
        index % 67 == 5
            ? #"{"prompt": "q", "completion": ""}"#
            : #"{"prompt": "q\#(index % 10)", "completion": "\#(String(repeating: "a", count: index % 31 == 3 ? 40 : 1 + index % 8))"}"#
    }

    private static func settings(_ change: (inout DatasetSettings) -> Void = { _ in }) -> DatasetSettings {
        var settings = DatasetSettings(data: ["t.jsonl"])
        (settings.maxLength, settings.maxBadRecords) = (64, 0.05)
        change(&settings)
        return settings
    }

    private static func load(_ files: [String: String], _ settings: DatasetSettings) throws -> Dataset {
        try Dataset.load(settings, tokenizer: Small.tokenizer(), template: nil, files: MemoryFiles(texts: files), cpu: CPU(threads: 2))
    }

    @Test(arguments: [DatasetSettings.Sampling.random, .first], [true, false])
    func `fewer and shorter samples are those that loading again gives`(sampling: DatasetSettings.Sampling, splits: Bool) throws {
        let text = Self.lines.joined(separator: "\n")
        let files = splits ? ["t.jsonl": text] : ["t.jsonl": text, "v.jsonl": Self.lines.reversed().joined(separator: "\n")]
        let whole = Self.settings {
            $0.sample = sampling
            if splits { $0.validationShare = 0.25 } else { $0.validation = ["v.jsonl"] }
        }
        let dataset = try Self.load(files, whole)
        var (taken, refused) = (0, 0)
        for (records, held, length) in [(nil, nil, 40), (100, nil, 64), (37, 20, 64), (90, 11, 43), (149, 40, 44), (60, 30, 64)] as [(Int?, Int?, Int)] {
            var narrower = whole
            (narrower.maxTrainSamples, narrower.maxValidationSamples, narrower.maxLength) = (records, held, length)
            let narrowed = try dataset.narrowed(to: narrower, splits: splits)
            let again = Result { try Self.load(files, narrower) }
            guard case .success(let again) = again, again.report.mistakes.isEmpty else {
                #expect(narrowed == nil, "\(records ?? 0), \(length): loading refuses it")
                refused += 1
                continue
            }
            let made = try #require(narrowed, "\(records ?? 0), \(length)").dataset
            #expect(try made.train.all() == again.train.all() && made.validation.all() == again.validation.all())
            #expect(try made.heldOut.all() == again.heldOut.all())
            #expect(made.train.lengths.map(\.tokens) == again.train.lengths.map(\.tokens))
            #expect(made.train.lengths.map(\.trained) == again.train.lengths.map(\.trained))
            #expect(narrowed?.truncated == again.report.train.truncated)
            taken += 1
        }
        #expect(taken > 2, "\(refused) are refused")
    }

    @Test func `data that a run would refuse are not offered`() throws {
        let whole = try Self.load(["t.jsonl": Self.lines.joined(separator: "\n")], Self.settings())
        var narrower = Self.settings()
        narrower.maxLength = 8
        #expect(try whole.narrowed(to: narrower, splits: true) == nil, "more than a twentieth would lose their end")
        narrower.maxLength = 2
        #expect(try whole.narrowed(to: narrower, splits: true) == nil, "nothing would be left")
    }
}
