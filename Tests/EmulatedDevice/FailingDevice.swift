import LorikeetDevices
import LorikeetGround

/// An emulated card that fails one call, and keeps the books of its memory: what is allocated, and what was freed that was not.
package final class FailingDevice: Accelerator {
    package enum Call: Sendable { case allocation, other }

    private let device: EmulatedDevice
    /// The call that fails: the `number`th of its kind from here on, counted from 1. nil: none.
    package var failing: (call: Call, number: Int)?
    /// Calls of each kind since `failing` was last set to count from zero by `begin`.
    package private(set) var counts: [Call: Int] = [:]
    package private(set) var live: Set<DeviceAddress> = []
    /// Frees of what was not allocated, or not any more.
    package private(set) var wrongFrees = 0

    package init(architecture: Int = 80) { device = EmulatedDevice(architecture: architecture) }

    /// Counts from zero, and fails where it is told to.
    package func begin(failing: (call: Call, number: Int)? = nil) { (self.failing, counts) = (failing, [:]) }

    private func count(_ call: Call) throws {
        counts[call, default: 0] += 1
        guard let failing, failing.call == call, counts[call] == failing.number else { return }
        throw LorikeetError(.doesNotFit, "call \(failing.number) fails", at: "FailingDevice")
    }

    package var properties: AcceleratorProperties { device.properties }
    package func allocate(bytes: Int) throws -> DeviceAddress {
        try count(.allocation)
        let address = try device.allocate(bytes: bytes)
        live.insert(address)
        return address
    }
    package func free(_ address: DeviceAddress) {
        guard live.remove(address) != nil else { return wrongFrees += 1 }
        device.free(address)
    }
    package func allocateOnHost(bytes: Int) throws -> DeviceAddress {
        try count(.allocation)
        let address = try device.allocateOnHost(bytes: bytes)
        live.insert(address)
        return address
    }
    package func freeOnHost(_ address: DeviceAddress) {
        guard live.remove(address) != nil else { return wrongFrees += 1 }
        device.freeOnHost(address)
    }
    package func beginCopy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int, number: Int) throws {
        try count(.other)
        try device.beginCopy(from, to: to, bytes: bytes, number: number)
    }
    package func awaitCopy(number: Int) throws {
        try count(.other)
        try device.awaitCopy(number: number)
    }
    package func upload(count bytes: Int, to: DeviceAddress, fill: (Int, UnsafeMutableRawBufferPointer) throws -> Void) throws {
        try count(.other)
        try device.upload(count: bytes, to: to, fill: fill)
    }
    package func download(_ from: DeviceAddress, into: UnsafeMutableRawBufferPointer) throws {
        try count(.other)
        try device.download(from, into: into)
    }
    package func copy(_ from: DeviceAddress, to: DeviceAddress, bytes: Int) throws {
        try count(.other)
        try device.copy(from, to: to, bytes: bytes)
    }
    package func zero(_ address: DeviceAddress, bytes: Int) throws {
        try count(.other)
        try device.zero(address, bytes: bytes)
    }
    package func launch(_ launch: KernelLaunch) throws {
        try count(.other)
        try device.launch(launch)
    }
    package func multiply(_ product: MatrixProduct, a: DeviceAddress, b: DeviceAddress, c: DeviceAddress) throws {
        try count(.other)
        try device.multiply(product, a: a, b: b, c: c)
    }
    package func synchronize() throws { try count(.other) }
    /// Runs at once: what is recorded is asked for again when it runs.
    package func record(_ body: () throws -> Void) throws -> (any RecordedWork)? { nil }
    package func mark() throws { try count(.other) }
    package func marks() throws -> [Double] { [1, 1] }
    package func usedBytes() throws -> Int { device.allocatedBytes }
}
