import EmulatedDevice
import LorikeetDevices
import LorikeetGround
import LorikeetPlanning
import Testing

@testable import Lorikeet

/// A run's bits depend on its command and its machine alone.
///
/// Each case trains the tiny model twice with adapters on all linears and compares the adapters byte by byte; it prints the hash of the
/// adapter's file, one line a case, so that two versions of the program can be compared on one machine:
///
///     swift test … --filter BitStabilityTests | grep '^bits' | sort
///
/// No hash is written down here: OpenBLAS chooses its kernels by the processor, and they sum in different orders.
@Suite(.serialized) struct BitStabilityTests {
    struct Case: Sendable, CustomStringConvertible {
        /// Compute capability of the emulated card: 75 computes in float16, 80 in bfloat16; nil is the processor, in float32.
        var architecture: Int?
        var dropout: Double
        /// Under the largest cap at which the planner computes blocks again, instead of without a cap.
        var recomputesBlocks = false

        var description: String {
            let device = architecture.map { "emulated card \($0) in \($0 < 80 ? "float16" : "bfloat16")" } ?? "processor in float32"
            return "\(device), dropout \(dropout)" + (recomputesBlocks ? ", blocks recomputed" : "")
        }
    }

    static let cases =
        [nil, 75, 80].flatMap { [Case(architecture: $0, dropout: 0), Case(architecture: $0, dropout: 0.1)] }
        + [75, 80].map { Case(architecture: $0, dropout: 0.1, recomputesBlocks: true) }

    @Test(arguments: cases) func `the same command gives the same adapter, bit for bit`(_ item: Case) throws {
        var run = try TinyRun()
        run.options["target-modules"] = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
        run.options["lora-dropout"] = "\(item.dropout)"
        if item.recomputesBlocks {
            run.options["per-device-train-batch-size"] = "18"
            run.options["num-train-epochs"] = "3"
            run.options["gpu-memory"] = "\(try Self.capThatRecomputes(run, item))"
        }
        let first = try Self.adapter(run, item)
        run.output += "-again"
        #expect(try Self.adapter(run, item) == first)
        print("bits \(item): \(String(Self.hash(first), radix: 16))")
    }

    private static func device(_ item: Case) -> EmulatedDevice? { item.architecture.map { EmulatedDevice(architecture: $0) } }

    /// The trained adapter's file.
    private static func adapter(_ run: TinyRun, _ item: Case) throws -> [UInt8] {
        let outcome = try run.run(on: device(item), goal: .adapter)
        #expect(outcome.error == nil, "\(String(describing: outcome.error))")
        let passes = try run.json("plan.json")["choices"]?["recompute"]?.string ?? ""
        #expect(passes.contains("+") == item.recomputesBlocks, "\(passes)")
        return Array(try run.adapter())
    }

    /// The largest cap in steps of a hundredth of the unrestricted plan's bytes under which blocks are computed again.
    private static func capThatRecomputes(_ run: TinyRun, _ item: Case) throws -> Int {
        func plan(_ cap: Int?) throws -> Plan {
            var run = run
            run.options["gpu-memory"] = cap.map(String.init)
            let recipe = try run.recipe()
            let compute = try TinyRun.open(recipe, device(item))
            var preparation = try Preparation(recipe: recipe, files: RealFiles())
            let dataset = try preparation.loadData(files: RealFiles(), cpu: compute.cpu)
            return try preparation.plan(dataset, merges: false, compute: compute)
        }
        let bytes = Int(try plan(nil).predictedGPUBytes)
        for percent in stride(from: 99, to: 30, by: -1) {
            let cap = bytes * percent / 100
            if try plan(cap).choices.passes.blocks > 0 { return cap }
        }
        throw LorikeetError.input("no cap makes the planner compute blocks again")
    }

    private static func hash(_ bytes: [UInt8]) -> UInt64 { FNV1a(of: bytes).value }
}
