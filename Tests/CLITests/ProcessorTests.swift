import Foundation
import Testing

/// The program on processors that lack what the engine is compiled for, as qemu's user mode plays them.
struct ProcessorTests {
    private static let emulator = "/usr/bin/qemu-x86_64"

    /// The check comes before arguments are looked at: a processor cannot be told from what is asked of it.
    @Test(arguments: ["Nehalem", "SandyBridge", "Opteron_G3"])
    func `a processor without AVX2 gets one sentence and exit 2, whatever is asked`(processor: String) throws {
        guard FileManager.default.isExecutableFile(atPath: Self.emulator) else {
            return print("skipped: qemu-user is not installed (apt-get install qemu-user)")
        }
        for arguments in [["doctor"], ["--version"], [], ["plan", "--model", "none", "--data", "none"], ["run", "--no-such-option"]] {
            let outcome = try Binary.run(["-cpu", processor, Binary.path] + arguments, path: Self.emulator)
            #expect(outcome.status == 2 && outcome.out.isEmpty, "\(arguments): \(outcome)")
            // The emulator's own warnings come before the program's words.
            let said = outcome.error.split(separator: "\n").filter { !$0.hasPrefix("qemu-x86_64: warning") }
            #expect(
                said == ["lorikeet: this processor has no AVX2 and FMA, which Lorikeet's arithmetic needs; use a machine from 2013 or later"])
        }
    }

    @Test func `a processor with AVX2 and FMA and nothing newer is enough`() throws {
        guard FileManager.default.isExecutableFile(atPath: Self.emulator) else {
            return print("skipped: qemu-user is not installed (apt-get install qemu-user)")
        }
        let outcome = try Binary.run(["-cpu", "Haswell", Binary.path, "--version"], path: Self.emulator)
        #expect(outcome.status == 0 && !outcome.out.isEmpty, "\(outcome)")
    }
}
