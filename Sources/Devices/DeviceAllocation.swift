/// A piece of a device's memory that is freed when its owner is released. Outside this room all device memory is held so: an initialiser
/// or a function that throws half way leaves nothing behind, and nothing is freed twice.
///
/// The device's work knows addresses only. So the owner has to be stored, or kept alive by `Accelerator.withMemory`, until the last call
/// that uses the address has been made; freeing waits for the work that was asked for before.
package final class DeviceAllocation {
    package let address: DeviceAddress
    package let bytes: Int
    private let device: any Accelerator
    private let isOnHost: Bool

    /// - Parameter onHost: takes memory of the host (`Accelerator.allocateOnHost`).
    /// - Throws: what `Accelerator.allocate` throws: exit 3 where the device has no room, exit 4 where it fails.
    package init(on device: any Accelerator, bytes: Int, onHost: Bool = false) throws {
        address = try onHost ? device.allocateOnHost(bytes: bytes) : device.allocate(bytes: bytes)
        (self.device, self.bytes, isOnHost) = (device, bytes, onHost)
    }

    deinit { if isOnHost { device.freeOnHost(address) } else { device.free(address) } }
}

extension Accelerator {
    /// Calls `body` with `bytes` of memory that exist until it returns or throws.
    package func withMemory<Result>(bytes: Int, _ body: (DeviceAddress) throws -> Result) throws -> Result {
        let allocation = try DeviceAllocation(on: self, bytes: bytes)
        return try withExtendedLifetime(allocation) { try body(allocation.address) }
    }
}
