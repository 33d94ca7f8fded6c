import Foundation
import LorikeetDevices
import Testing

struct DiskRateTests {
    @Test func `a rate is measured where files can be written, and nothing stays`() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/disk-rate-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let rate = try #require(DiskRate.writtenBytesPerSecond(at: folder))
        // From a network drive to memory.
        #expect(rate > 1e4 && rate < 1e12)
        #expect(try #require(DiskRate.writtenBytesPerSecond(at: folder + "/not/there/yet")) > 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    }

    @Test func `where nothing can be written there is no rate`() { #expect(DiskRate.writtenBytesPerSecond(at: "/proc/self") == nil) }
}
