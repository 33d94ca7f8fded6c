import LorikeetGround
import LorikeetTokenizers
import Testing

@testable import LorikeetDatasets

struct ReportTests {
    @Test func `a template without an end token is a mistake`() throws {
        let endless = Small.chatML.replacing("'<|im_end|>' + ", with: "")
        let data = try Small.load(Small.alpaca(3), template: endless)
        #expect(data.report.train.withoutEnd == 3)
        let error = data.report.error(.checkFailed)
        #expect(error?.exit == .checkFailed)
        #expect(error?.what.contains("would not learn to stop") == true)
    }

    @Test func `raw text without an EOS to end it is a mistake`() throws {
        // The names of the small tokenizer's specials would still count as end tokens, but nothing is appended.
        let data = try Small.load([#"{"text": "abc"}"#], template: nil, tokenizer: Small.tokenizer(eos: false))
        #expect(data.report.mistakes.count == 1)
    }

    @Test func `two BOS tokens are a mistake`() throws {
        let data = try Small.load(Small.alpaca(3), template: "{{ bos_token }}{{ bos_token }}" + Small.chatML)
        #expect(data.report.train.doubleBOS == 3)
        #expect(data.report.mistakes.first?.what.contains("two BOS tokens") == true)
        #expect(try Small.load(Small.alpaca(3), template: "{{ bos_token }}" + Small.chatML).report.mistakes.isEmpty)
    }

    @Test func `duplicates and overlap are counted`() throws {
        let lines = Small.alpaca(4)
        let files = ["set/train.jsonl": (lines + [lines[1], lines[1]]).joined(separator: "\n"), "set/validation.jsonl": lines[3]]
        let report = try Small.load(files: files, data: "set").report
        #expect(report.train.duplicates == 2)
        #expect(report.overlap == 1)
        #expect(report.mistakes.isEmpty)
        #expect(report.warnings.count == 2)
    }

    @Test func `good data gives no word of warning`() throws {
        let report = try Small.load(Small.alpaca(20)).report
        #expect(report.warnings.isEmpty)
        #expect(report.mistakes.isEmpty)
        #expect(report.error(.checkFailed) == nil)
    }

    @Test func `keys that are not read are named`() throws {
        let report = try Small.load([#"{"id": 1, "instruction": "q", "output": "a", "source": "x"}"#]).report
        #expect(report.train.ignoredKeys == ["id", "source"])
    }

    @Test func `lengths are those of the nearest rank`() throws {
        let lengths = TokenLengths(Array((1...200).reversed()))
        #expect(lengths.p50 == 100)
        #expect(lengths.p95 == 190)
        #expect(lengths.p99 == 198)
        #expect(lengths.max == 200)
        #expect(lengths.mean == 100.5)
        #expect(lengths.total == 20_100)
        #expect(TokenLengths([7]).p50 == 7)
        #expect(TokenLengths([]).max == 0)
    }

    @Test func `counts add up`() throws {
        let data = try Small.load(Small.alpaca(10)) {
            $0.maxTrainSamples = 6
            $0.validationShare = 0.2
        }
        #expect(data.report.train.rowsInFile == 10)
        #expect(data.report.train.rows == 6)
        #expect(data.report.train.samples == 6)
        #expect(data.report.validation?.rows == 2)
        #expect(data.report.train.trainedTokens == data.train.map(\.trainedCount).reduce(0, +))
        #expect(data.report.train.lengths.total == data.train.map(\.ids.count).reduce(0, +))
        #expect(data.report.json["train"]?["samples"]?.int == 6)
    }

    @Test func `the preview marks what is trained`() throws {
        let line = #"{"instruction": "hi", "output": "yo"}"#
        let previews = try Small.load([line, line]).preview(rows: 1, tokenizer: Small.tokenizer())
        #expect(previews.count == 1)
        #expect(
            previews[0].text
                == "<|im_start|>|u|s|e|r|⏎\nh|i|<|im_end|>|⏎\n<|im_start|>|a|s|s|i|s|t|a|n|t|⏎\n[y][o][<|im_end|>]")
    }
}

struct ChoiceTests {
    @Test func `first takes the first rows, random the same rows every time`() throws {
        let lines = Small.alpaca(100)
        let first = try Small.load(lines) {
            $0.maxTrainSamples = 7
            $0.sample = .first
        }
        #expect(first.train.map(\.record) == Array(0..<7))
        let random = try Small.load(lines) { $0.maxTrainSamples = 7 }
        let rows = random.train.map(\.record)
        #expect(rows == rows.sorted())
        #expect(rows != Array(0..<7))
        #expect(rows == (try Small.load(lines) { $0.maxTrainSamples = 7 }).train.map(\.record))
        let otherSeed = try Small.load(lines) {
            $0.maxTrainSamples = 7
            $0.seed = 43
        }
        #expect(rows != otherSeed.train.map(\.record))
    }

    @Test func `a larger choice holds a smaller one`() {
        let small = randomSubset(of: 1000, wanted: 30, seed: 1, purpose: .trainSubset)
        let large = randomSubset(of: 1000, wanted: 60, seed: 1, purpose: .trainSubset)
        #expect(small.count == 30)
        #expect(Set(large).isSuperset(of: small))
        #expect(randomSubset(of: 5, wanted: 9, seed: 1, purpose: .trainSubset) == [0, 1, 2, 3, 4])
        #expect(randomSubset(of: 5, wanted: 0, seed: 1, purpose: .trainSubset).isEmpty)
    }

    @Test func `a split share is exact, disjoint and the same every time`() throws {
        let lines = Small.alpaca(100)
        let data = try Small.load(lines) { $0.validationShare = 0.13 }
        let train = Set(data.train.map(\.record))
        let validation = Set(data.validation.map(\.record))
        #expect(validation.count == 13)
        #expect(train.count == 87)
        #expect(train.isDisjoint(with: validation))
        #expect(data.heldOut.map(\.record) == data.validation.map(\.record))
        #expect(validation == Set(try Small.load(lines) { $0.validationShare = 0.13 }.validation.map(\.record)))
        let capped = try Small.load(lines) {
            $0.validationShare = 0.13
            $0.maxValidationSamples = 4
            $0.maxTrainSamples = 10
        }
        #expect(capped.validation.count == 4)
        #expect(validation.isSuperset(of: capped.validation.map(\.record)))
        #expect(train.isSuperset(of: capped.train.map(\.record)))
    }

    @Test func `no validation samples may be wanted, but no training samples is an error`() throws {
        let files = ["set/train.jsonl": Small.alpaca(2).joined(separator: "\n"), "set/validation.jsonl": Small.alpaca(1)[0]]
        let data = try Small.load(files: files, data: "set") { $0.maxValidationSamples = 0 }
        #expect(data.train.count == 2)
        #expect(data.validation.isEmpty)
        #expect(failure { try Small.load(Small.alpaca(2)) { $0.maxTrainSamples = 0 } }?.fix == "raise max_train_samples")
    }

    @Test func `a share that leaves nothing is an error`() throws {
        #expect(failure { try Small.load(Small.alpaca(2)) { $0.validationShare = 0.9 } }?.exit == .unusableInput)
    }

    @Test func `the number of threads changes nothing`() throws {
        let lines = Small.alpaca(101) { String(repeating: "x", count: $0 % 13 + 1) }
        let one = try Small.load(lines, threads: 1)
        let three = try Small.load(lines, threads: 3)
        #expect(one.train == three.train)
        #expect(one.report == three.report)
    }
}
