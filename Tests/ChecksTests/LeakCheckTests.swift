import LorikeetDevices
import LorikeetEngine
import LorikeetGround
import StubCard
import Testing

@testable import LorikeetChecks

/// What `lorikeet doctor --leaks` reports.
struct LeakCheckTests {
    @Test func `the leak check finds what is not given back, and nothing where all is`() throws {
        let stub = try StubCard()
        var kept: [DeviceAllocation] = []
        func check(keeping bytes: Int) throws -> [LeakCheck.Reading] {
            try LeakCheck(rounds: 20) {
                let card = try CUDADevice(stub.options)
                if bytes > 0 { kept.append(try DeviceAllocation(on: card, bytes: bytes)) }
                return Compute(cpu: CPU(threads: 1), device: card, element: .f16)
            }.run { _ in }
        }
        let clean = try check(keeping: 0)
        #expect(clean.map(\.round) == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20] && LeakCheck.growth(clean).deviceBytes == 0)
        #expect(stub.books() == ([:], []))
        // A kept allocation keeps its card: workspace and all.
        let leaking = try check(keeping: 1 << 20)
        #expect(LeakCheck.growth(leaking).deviceBytes == 18 * (33 << 20) && LeakCheck.leaks(leaking))
        kept = []
        #expect(stub.books() == ([:], []))
        #expect(throws: LorikeetError.self) { try LeakCheck(rounds: 10) { Compute(cpu: CPU(threads: 1)) }.run { _ in } }
    }
}
