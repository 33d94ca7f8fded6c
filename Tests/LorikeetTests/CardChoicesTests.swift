import LorikeetChecks
import LorikeetDevices
import LorikeetGround
import Testing

@testable import Lorikeet
@testable import LorikeetEngine

/// How the rows of docs/benchmarks.md run on an H100, without one: what is chosen follows from the table model of the card alone.
struct CardChoicesTests {
    /// A row of the table: what is asked, and what was chosen when it was measured.
    struct Row: Sendable, CustomTestStringConvertible {
        let name: String
        var shape = "llama-7b"
        var architecture = 90
        var cap = 16.0
        var sequence = 512
        /// nil takes the fastest that fits.
        var rows: Int?
        var targets = ["q_proj", "v_proj"]
        var rank = 8
        var dropout = 0.0
        let tokens: Int
        var keeps = false
        var passes = "nothing"
        /// Bytes that were predicted.
        let bytes: Int
        /// Milliseconds of a step as measured; nil for rows that no measurement was predicted for.
        var milliseconds: Double?

        var testDescription: String { name }
    }

    static let rows = [
        Row(name: "7b-16", tokens: 4096, passes: "norms", bytes: 17_113_772_288, milliseconds: 189.4),
        Row(name: "7b-8", cap: 8.2, tokens: 1024, bytes: 8_125_014_272, milliseconds: 55.28),
        Row(name: "1b-16", shape: "llama-3.2-1b", tokens: 4096, keeps: true, bytes: 8_356_155_648, milliseconds: 36.13),
        Row(name: "135m-16", shape: "smollm2-135m", tokens: 16384, keeps: true, bytes: 7_677_944_832, milliseconds: 33.37),
        Row(name: "1b-step", shape: "llama-3.2-1b", sequence: 136, rows: 2176, tokens: 2176, keeps: true, bytes: 6_135_652_608, milliseconds: 20.59),
        Row(name: "7b-step", sequence: 136, rows: 2176, tokens: 2176, bytes: 11_919_679_232, milliseconds: 112.2),
        Row(name: "1b-lengths", shape: "llama-3.2-1b", sequence: 127, rows: 2932, tokens: 2944, keeps: true, bytes: 7_023_853_824),
        Row(name: "7b-75", architecture: 75, cap: 15, tokens: 3072, passes: "norms", bytes: 15_742_988_544, milliseconds: 163.0),
        Row(name: "1b-8192", shape: "llama-3.2-1b", sequence: 8192, rows: 8192, tokens: 8192, keeps: true, bytes: 12_025_778_432, milliseconds: 108.4),
        Row(
            name: "1b-32768", shape: "llama-3.2-1b", sequence: 32768, rows: 32768, tokens: 32768, passes: "norms+13,gates-only", bytes: 16_417_739_008,
            milliseconds: 935.4),
        Row(
            name: "8b", shape: "qwen3-8b", cap: 79, sequence: 2048, targets: ["all-linear"], rank: 16, tokens: 4096, keeps: true,
            bytes: 43_060_000_000, milliseconds: 236.9),
        Row(name: "7b-seven", targets: ["all-linear"], tokens: 3072, passes: "norms", bytes: 14_399_320_320, milliseconds: 164.0),
        Row(name: "1b-seven", shape: "llama-3.2-1b", targets: ["all-linear"], tokens: 4096, keeps: true, bytes: 9_789_690_112, milliseconds: 41.54),
        Row(name: "7b-dropout", dropout: 0.05, tokens: 4096, passes: "norms", bytes: 17_113_772_288),
        Row(name: "1b-dropout", shape: "llama-3.2-1b", dropout: 0.05, tokens: 4096, keeps: true, bytes: 8_356_155_648),
    ]

    /// The card on which the table was measured.
    private static func card(_ architecture: Int) -> AcceleratorProperties {
        var card = AcceleratorProperties(
            name: "NVIDIA H100 80GB HBM3", architecture: architecture, multiprocessors: 132, totalBytes: 85_000_000_000, driver: "")
        card.bytesToRun = 40 << 20
        card.capability = 90
        return card
    }

    private static func planner(_ row: Row) throws -> DevicePlanner {
        try DevicePlanner(
            Bench.configuration(shape: row.shape), storage: .nf4,
            lora: LoRASettings(r: row.rank, alpha: 16, dropout: row.dropout, targetModules: row.targets), card: card(row.architecture),
            element: row.architecture == 75 ? .f16 : .bf16, workload: Workload(segments: SegmentLengths([row.sequence])), contextBytes: 588_054_528
        ) { _ in nil }
    }

    /// Two segments of 2,048 of an 8B model, rank 16 on every linear.
    @Test func `the host's memory is used where the card's is short, and where that is faster`() throws {
        let row = Row(name: "8b", shape: "qwen3-8b", sequence: 2048, targets: ["all-linear"], tokens: 0, bytes: 0)
        var planner = try Self.planner(row)
        func plan(_ cap: Double) throws -> DevicePlan {
            try planner.plan(among: Bench.candidates(2048), evaluation: 32, headChunk: 4096, cap: Int(cap * Double(1 << 30)))
        }
        let table = 151_936 * 4096 * 2
        for cap in [6.5, 7.3, 7.6] {
            let plan = try plan(cap)
            #expect(plan.embeddingOnHost && plan.bytes.pinned >= table)
            #expect(Double(plan.bytes.total) <= cap * Double(1 << 30))
        }
        let smallest = try plan(6.5)
        #expect(smallest.passes.rawValue == "norms+35,attention-kept,parked")
        // Of each row a block's input, attention's result, and the log-sum-exp of 32 heads.
        #expect(smallest.bytes.pinned == table + 34 * smallest.sizes.training * (2 * 4096 * 2 + 32 * 4))
        for cap in [7.3, 7.6, 10] { #expect(try plan(cap).passes.parks) }
        for cap in [24.0, 40] {
            let plan = try plan(cap)
            #expect(!plan.embeddingOnHost && !plan.passes.parks && plan.bytes.pinned == 0)
        }
        // Without memory to pin the card's has to do.
        planner.hostCap = 1 << 30
        let error = #expect(throws: LorikeetError.self) { try plan(7.3) }
        #expect(error?.exit == .doesNotFit)
        #expect(try plan(9).bytes.pinned == 0)
    }

    /// Micro-batches of 2,048 tokens of the 7B shape under caps at which blocks are recomputed.
    @Test func `a small gain is no reason to take the host's memory`() throws {
        var planner = try Self.planner(Self.rows[1])
        var (small, large) = (0, 0)
        for cap in stride(from: 7.4, through: 9.4, by: 0.2) {
            let cap = Int(cap * Double(1 << 30))
            func plan(_ uses: [HostUse]) throws -> DevicePlan {
                try #require(planner.plan(tokens: 2048, onHost: uses, evaluation: 32, headChunk: 4096, cap: cap, fasterThan: .infinity).plan)
            }
            let (plain, hosted) = (try plan([.nothing]), try plan([.embedding, .parking]))
            let chosen = try planner.plan(among: [2048], evaluation: 32, headChunk: 4096, cap: cap)
            let gains = hosted.stepSeconds < (1 - DevicePlanner.hostGain) * plain.stepSeconds
            #expect((chosen.bytes.pinned > 0) == (gains && plain.passes.blocks > 0) && (chosen.bytes.pinned > 0 || !chosen.passes.parks))
            (small, large) = (small + (!gains && hosted.stepSeconds < plain.stepSeconds ? 1 : 0), large + (gains ? 1 : 0))
        }
        #expect(small > 0 && large > 0, "\(small) caps with a small gain and \(large) with a large one")
        // The 8B shape at 10 GiB: measured 4.7 % faster.
        planner = try Self.planner(Row(name: "8b", shape: "qwen3-8b", sequence: 2048, targets: ["all-linear"], tokens: 0, bytes: 0))
        func fastest() throws -> DevicePlan { try planner.plan(among: [2048, 4096], evaluation: 32, headChunk: 4096, cap: 10 << 30) }
        let hosted = try fastest()
        planner.hostCap = 0
        let plain = try fastest()
        #expect(hosted.passes.parks && plain.bytes.pinned == 0)
        #expect(hosted.secondsPerToken < (1 - DevicePlanner.hostGain) * plain.secondsPerToken)
    }

    /// Most of a plan's time goes to programs and passes. They are counted, for time differs from machine to machine: a search that tries every number of
    /// blocks, or runs the passes for every size, is far above these numbers.
    @Test(arguments: [(7.6, 36, 50), (10, 36, 95), (24, 36, 35), (79, 36, 24)])
    func `a search makes few programs, and its sizes share their passes`(cap: Double, programs: Int, passes: Int) throws {
        let planner = try Self.planner(Row(name: "8b", shape: "qwen3-8b", sequence: 2048, targets: ["all-linear"], tokens: 0, bytes: 0))
        func plan(_ cap: Double) throws -> DevicePlan {
            try planner.plan(among: Bench.candidates(2048), evaluation: 32, headChunk: 4096, cap: Int(cap * Double(1 << 30)))
        }
        let first = try plan(cap)
        let (made, run) = (planner.known.programsMade, planner.known.passesRun)
        #expect(made <= programs, "\(made) programs")
        #expect(run <= passes, "\(run) runs of the passes")
        // The same question is answered from what is known.
        let again = try plan(cap)
        #expect(again.sizes == first.sizes && again.passes == first.passes && again.bytes == first.bytes)
        #expect(planner.known.programsMade == made && planner.known.passesRun == run)
    }

    @Test func `the memory that is said to do does`() throws {
        let planner = try Self.planner(Self.rows[0])
        func plan(_ cap: Int) throws -> DevicePlan { try planner.plan(among: [512, 1024], evaluation: 32, headChunk: 4096, cap: cap) }
        let error = #expect(throws: LorikeetError.self) { try plan(4 << 30) }
        let said = try #require(error?.fix?.firstMatch(of: /gpu_memory of (\d+MiB) would do/)).output.1
        let bytes = Int(try Units.parseBytes(String(said)))
        #expect(try plan(bytes).bytes.total <= bytes)
        #expect(throws: LorikeetError.self) { try plan(bytes - (2 << 20)) }
    }

    @Test(arguments: rows) func `a row of the table is chosen as it was measured`(_ row: Row) throws {
        let planner = try Self.planner(row)
        let plan = try planner.plan(
            among: row.rows.map { [$0] } ?? Bench.candidates(row.sequence), evaluation: 32, headChunk: 4096, cap: Int(row.cap * Double(1 << 30)))
        #expect(plan.sizes.training == row.tokens)
        #expect(plan.keepsExpanded == row.keeps)
        #expect(plan.passes.rawValue == row.passes)
        #expect(abs(plan.bytes.total - row.bytes) < row.bytes / 100, "\(plan.bytes.total) bytes predicted")
    }

    @Test(arguments: rows.filter { $0.milliseconds != nil }) func `a step's time is predicted as it was measured`(_ row: Row) throws {
        var planner = try Self.planner(row)
        // As it was measured.
        planner.hostCap = 0
        let plan = try planner.plan(
            among: row.rows.map { [$0] } ?? Bench.candidates(row.sequence), evaluation: 32, headChunk: 4096, cap: Int(row.cap * Double(1 << 30)))
        let seconds = planner.predictedSeconds(plan, counts: [plan.sizes.training: 1]) + planner.predictedUpdateSeconds
        let ratio = try 1000 * seconds / #require(row.milliseconds)
        #expect(abs(ratio - 1) < 0.1, "\(1000 * seconds) ms predicted")
    }

    /// Steps of SmolLM2 with segments of 125 tokens and adapters on q and v, in milliseconds by tokens, on the same card; the smaller the longer they are
    /// predicted.
    @Test(arguments: [(256, 3.190, 0.4), (1024, 4.316, 0.25), (2048, 5.938, 0.12), (4096, 9.607, 0.1)])
    func `small steps are predicted too`(tokens: Int, measured: Double, limit: Double) throws {
        let row = Row(name: "135m", shape: "smollm2-135m", sequence: 125, rows: tokens, tokens: tokens, bytes: 0)
        let planner = try Self.planner(row)
        let plan = try planner.plan(among: [tokens], evaluation: 32, headChunk: 4096, cap: 16 << 30)
        let seconds = planner.predictedSeconds(plan, counts: [tokens: 1]) + planner.predictedUpdateSeconds
        #expect(abs(1000 * seconds / measured - 1) < limit, "\(1000 * seconds) ms predicted")
    }
}
