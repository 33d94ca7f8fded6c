import LorikeetGround

/// A card's primary context, retained as long as this lives.
///
/// The driver keeps a current context for each thread and takes nearly every call as meant for it. So whoever calls the driver makes its
/// own context current first, whatever was current before: one call that costs less than a tenth of a microsecond.
final class CardContext {
    let driver: Driver
    private let card: Int32
    private let context: OpaquePointer?

    /// Retains the context and makes it current.
    init(_ driver: Driver, _ card: Card, _ management: ManagementLibrary?) throws {
        var context: OpaquePointer?
        let retained = driver.retainContext(&context, card.handle)
        if retained == CardMemory.outOfMemory { throw CardMemory.shortage(card, wanted: "a context", free: nil, held: 0, management) }
        try driver.check(retained, "cuDevicePrimaryCtxRetain")
        (self.driver, self.card, self.context) = (driver, card.handle, context)
        try makeCurrent()
    }

    deinit {
        // The last one to release it ends the context, and a context that has ended must not stay current.
        _ = driver.setContext(nil)
        _ = driver.releaseContext(card)
    }

    func makeCurrent() throws { try driver.check(driver.setContext(context), "cuCtxSetCurrent") }

    /// An event in this context, which is current. `flags`: 0 measures time, 2 (CU_EVENT_DISABLE_TIMING) does not.
    func event(flags: UInt32 = 0) throws -> CardHandle {
        try CardHandle(in: self, release: driver.eventDestroy) { try driver.made("cuEventCreate") { driver.eventCreate($0, flags) } }
    }
}

/// Something that was made in a card's context and is given back there with its owner: a stream, an event, memory, a module, a handle of
/// a library. It holds the context, which therefore is released last.
final class CardResource<Handle> {
    let handle: Handle
    private let context: CardContext
    private let release: (Handle) -> Int32

    /// - Parameters:
    ///   - context: is current.
    ///   - release: gives the handle back; called once, with the context current.
    init(in context: CardContext, release: @escaping (Handle) -> Int32, make: () throws -> Handle) throws {
        handle = try make()
        (self.context, self.release) = (context, release)
    }

    deinit { if (try? context.makeCurrent()) != nil { _ = release(handle) } }
}

/// A handle by the driver or a library: what it points to is theirs.
typealias CardHandle = CardResource<OpaquePointer?>
