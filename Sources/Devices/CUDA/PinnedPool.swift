import LorikeetGround

/// Blocks of pinned host memory that copies from the card go to: the driver copies to them without a step between, and without waiting.
/// A block that is given back is used again, for pinning memory takes the driver longer than a copy.
final class PinnedPool {
    typealias Block = CardResource<UnsafeMutableRawPointer>

    private let context: CardContext
    /// By size in bytes.
    private var free: [Int: [Block]] = [:]
    private static let smallest = 64 << 10

    init(_ context: CardContext) { self.context = context }

    /// The size of the block that `bytes` bytes go to.
    private static func size(_ bytes: Int) -> Int {
        var size = smallest
        while size < bytes { size *= 2 }
        return size
    }

    /// Takes a block of at least `bytes` bytes; the context is current.
    ///
    /// - Throws: exit 4 where the machine has no memory that can be pinned.
    func take(_ bytes: Int) throws -> Block {
        let size = Self.size(bytes)
        if let block = free[size]?.popLast() { return block }
        return try make(size)
    }

    /// A block of exactly `bytes` bytes, which is not of the pool; throws as `take`.
    func make(_ bytes: Int) throws -> Block {
        let driver = context.driver
        return try Block(in: context, release: { driver.freeHost($0) }) {
            var pinned: UnsafeMutableRawPointer?
            guard driver.allocateHost(&pinned, bytes, 0) == 0, let pinned else {
                throw LorikeetError.machine(
                    "the machine cannot provide \(Units.formatBytes(Int64(bytes))) of pinned memory (cuMemHostAlloc)", fix: "free some RAM")
            }
            return pinned
        }
    }

    /// - Parameter bytes: as `take` got it. Nothing copies to the block any more.
    func giveBack(_ block: Block, bytes: Int) { free[Self.size(bytes), default: []].append(block) }
}
