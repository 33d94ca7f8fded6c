/// A program before the passes that a policy decides.
struct DifferentiatedProgram {
    let purpose: ProgramPurpose
    let tokens: Int
    /// The forward ops of each block of the model.
    let blocks: [Range<Int>]
    let inputs: ProgramInputs
    let outputs: ProgramOutputs
    let unusedTensors: [String]
    let list: OpList

    /// The program after recomputation, fusion and parking, with its values laid out in the arena.
    func program(_ passes: PassPolicy) -> Program {
        let passed = passed(passes)
        let (list, lifetimes) = (passed.list, passed.lifetimes)
        let program = Program(
            purpose: purpose, target: list.target, tokens: tokens, values: list.values, ops: list.entries.map(\.op), origins: list.entries.map(\.origin),
            roles: list.entries.map(\.role),
            firstBackwardOp: list.firstBackward, inputs: inputs, outputs: outputs,
            schedule: Schedule(list.values, lifetimes, alignment: list.target.alignment), incomplete: list.incomplete,
            unusedTensors: unusedTensors)
        assert(program.violations().isEmpty, program.violations().joined(separator: "\n"))
        return program
    }

    /// The ops after recomputation, fusion and parking.
    func passed(_ passes: PassPolicy) -> PassedProgram {
        var list = list
        if purpose == .training { list = Recompute.recompute(list, passes, blocks: blocks) }
        if passes.fuse { list = Fuse.fuse(list) }
        if purpose == .training, passes.parks, list.target.isDevice { list = Parking.park(list, blocks: blocks, repeated: passes.blocks) }
        return PassedProgram(list, from: self)
    }
}

/// The ops of a program after all passes. Passes look at columns and types of values, never at rows, so programs for other numbers of rows and for other
/// chunks of the head have the same ops: a plan that tries many sizes needs the passes once.
struct PassedProgram {
    fileprivate let list: OpList
    fileprivate let lifetimes: Schedule.Lifetimes
    private let origin: OpList

    fileprivate init(_ list: OpList, from program: DifferentiatedProgram) {
        (self.list, origin) = (list, program.list)
        lifetimes = Schedule.Lifetimes(list.values, list.entries.lazy.map { $0.reads + $0.writes })
    }

    /// What of a program decides its bytes and its time.
    struct Footprint {
        fileprivate let values: ValueTable
        fileprivate let passed: PassedProgram

        /// Bytes of the arena.
        func arenaBytes() -> Int { Schedule(values, passed.lifetimes, alignment: passed.list.target.alignment).arenaBytes }

        /// Bytes that the arena has at least.
        func leastArenaBytes() -> Int { passed.lifetimes.mostLiveBytes(values, alignment: passed.list.target.alignment) }

        /// Bytes of the host's pinned memory that its parked values need.
        var parkedBytes: Int { values.parkedBytes }

        /// The work of one run.
        func work(_ load: Workload) -> some Sequence<Work> {
            let context = WorkContext(values: values, target: passed.list.target, load: load)
            let entries = passed.list.entries
            // By place: an iterator would copy every entry.
            return entries.indices.lazy.flatMap { entries[$0].op.work(context) }
        }
    }

    /// Of the sizes that the passes were run for.
    var own: Footprint { Footprint(values: list.values, passed: self) }

    /// The footprint of the same program for other sizes; nil where its ops are others.
    ///
    /// - Parameter program: before the passes.
    func footprint(of program: DifferentiatedProgram) -> Footprint? {
        let other = program.list
        guard other.target == origin.target, other.values.values.count == origin.values.values.count, other.entries.count == origin.entries.count,
            // By place: an iterator would copy every entry.
            origin.entries.indices.allSatisfy({
                other.entries[$0].reads == origin.entries[$0].reads && other.entries[$0].writes == origin.entries[$0].writes
                    && other.entries[$0].op.kind == origin.entries[$0].op.kind
            })
        else { return nil }
        return Footprint(values: list.values.resized(to: other.values, alignment: list.target.alignment), passed: self)
    }
}
