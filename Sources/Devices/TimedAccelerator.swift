/// A device that notes when each launch, product and copy begins: what a profile is made of.
package final class TimedAccelerator: Accelerator {
    private let device: any Accelerator
    /// What was asked for, one label a mark.
    private var labels: [String] = []
    /// How many notes there are.
    package var count: Int { labels.count }

    package init(_ device: any Accelerator) { self.device = device }

    /// Seconds of everything asked for since the last call, in order.
    package func times() throws -> [(label: String, seconds: Double)] {
        try device.mark()
        defer { labels = [] }
        return zip(labels, try device.marks()).map { ($0, $1) }
    }

    private func note(_ label: String) throws {
        labels.append(label)
        try device.mark()
    }

    package var properties: AcceleratorProperties { device.properties }
    package func allocate(bytes: Int) throws -> DeviceAddress { try device.allocate(bytes: bytes) }
    package func free(_ address: DeviceAddress) { device.free(address) }
    package func upload(count: Int, to address: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
        try device.upload(count: count, to: address, fill: fill)
    }
    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws { try device.download(from, into: into) }
    package func fetch(_ from: DeviceAddress, count: Int) throws -> any FetchedBytes { try device.fetch(from, count: count) }
    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws {
        try note("copy")
        try device.copy(from, to: to, bytes: bytes)
    }
    package func allocateOnHost(bytes: Int) throws -> DeviceAddress { try device.allocateOnHost(bytes: bytes) }
    package func freeOnHost(_ address: DeviceAddress) { device.freeOnHost(address) }
    package func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws {
        try device.beginCopy(from, to: to, bytes: bytes, number: number)
    }
    package func awaitCopy(number: Int) throws {
        try note("wait for a copy")
        try device.awaitCopy(number: number)
    }
    package func zero(_ address: DeviceAddress, bytes: Int) throws {
        try note("zero")
        try device.zero(address, bytes: bytes)
    }
    package func prepare(_ modules: [KernelModule]) { device.prepare(modules) }
    package func launch(_ launch: KernelLaunch) throws {
        try note(launch.kernel)
        try device.launch(launch)
    }
    package func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
        try note("\(product.m)x\(product.n)x\(product.k)\(product.transposeA ? " At" : "")\(product.transposeB ? " Bt" : "")\(product.beta == 0 ? "" : " +=")")
        try device.multiply(product, a: a, b: b, c: c)
    }
    package func synchronize() throws { try device.synchronize() }
    package func record(_ body: () throws -> Void) throws -> (any RecordedWork)? { nil }
    package func mark() throws { try device.mark() }
    package func marks() throws -> [Double] { try device.marks() }
    package func usedBytes() throws -> Int { try device.usedBytes() }
}
