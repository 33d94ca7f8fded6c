import Lorikeet
import LorikeetGround
import LorikeetReporting

@testable import LorikeetDatasets
import MemoryFiles

extension FuzzTarget {
    /// A run's folder as `lorikeet report` reads it, up to the page.
    static let report = FuzzTarget(name: "report") { bytes in
        let record = try RunFolder(path: "run", files: MemoryFiles(folder: "run", bytes)).record()
        _ = ReportPage(runs: [record]).html()
        _ = ReportPage(runs: [record, record]).html()
    }

    /// The index of stored samples, with a right check sum.
    static let store = FuzzTarget(name: "store") { bytes in
        let sum = Array(ContentHash(of: Array(bytes)).description.utf8)
        let whole = Array(bytes) + sum + [UInt8](repeating: 0x20, count: max(0, 64 - sum.count))
        let data = try MemoryFiles("data", UnsafeRawBufferPointer(rebasing: bytes.prefix(4096))).open("data")
        guard let dataset = StoreIndex(whole)?.dataset(data) else { return }
        do { _ = try (dataset.train.all(), dataset.validation.all(), dataset.heldOut.all()) } catch { try Texts.expectSentence(error) }
        _ = dataset.report.table()
    }
}
