import LorikeetChecks
import LorikeetEngine
import LorikeetGround
import LorikeetJSON

extension DoctorVerb {
    /// The programs of every family for the device that was asked for: on a card in every type that it has, or in `--compute-type` alone.
    func checkPrograms(_ compute: Compute) throws -> ProgramChecks {
        guard let device = compute.device, place.work.computeType == "auto" else { return try ProgramChecks.run(for: [compute.target]) }
        return try ProgramChecks.run(for: KernelChecks(device: device, cpu: compute.cpu).elements.map { .device($0) })
    }

    static func line(_ programs: ProgramChecks) -> String { "programs: \(programs.summary)\n" }

    /// Among the numbers of a reference folder.
    static func object(_ programs: ProgramChecks) -> JSON {
        [
            "name": .string("programs: \(programs.summary)"), "measured": JSON(programs.violations.count), "tolerance": 0,
            "pass": .bool(programs.error == nil),
        ]
    }
}
