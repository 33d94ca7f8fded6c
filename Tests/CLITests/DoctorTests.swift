import Foundation
import LorikeetJSON
import Testing

/// `lorikeet doctor` verifies the programs in whichever way it is asked.
struct DoctorTests {
    @Test func `doctor says how many programs of which families passed`() throws {
        let outcome = try Binary.run("doctor")
        let line = try #require(outcome.out.split(separator: "\n").first { $0.hasPrefix("programs_verified") }, "\(outcome.out)")
        #expect(outcome.status == 0 && line.contains("verified (llama, ") && line.contains("; training, evaluation, decoding, step)"), "\(line)")
        let json = try JSON.parse(try Binary.run("doctor", "--json").out, source: "doctor")
        #expect((json["programs_verified"]?.int ?? 0) > 90)
        let reference = try Binary.run("doctor", "--reference", TinyFolder.reference)
        #expect(reference.status == 0 && reference.out.contains("programs: ") && reference.out.contains(" verified ("), "\(reference.out)")
        let numbers = try JSON.parse(try Binary.run("doctor", "--reference", TinyFolder.reference, "--json").out, source: "doctor").array ?? []
        #expect(numbers.contains { $0["name"]?.string?.hasPrefix("programs: ") == true && $0["pass"] == true })
    }
}
