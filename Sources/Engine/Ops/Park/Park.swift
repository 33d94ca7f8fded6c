/// Begins to copy a value to the host's memory, beside the ops that follow: parked = x. Any shape and type.
///
/// The card's memory of x stays x's until the copy's `ParkEnd`; `parked` is complete from there on.
struct Park: Op {
    var x: ValueID
    var parked: ValueID

    var kind: String { "park" }
    var reads: [ValueID] { [x] }
    var writes: [ValueID] { [parked] }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&parked)
    }

    func check(_ operands: inout OperandCheck) { operands.expectCopy(x, parked) }

    func work(_ context: WorkContext) -> [Work] { [.beginCopy(bytes: context.bytes(x), number: parked.index)] }

    func run(_ context: borrowing CPURun) throws { throw CPURun.missing("memory beside the processor's") }

    func run(_ context: borrowing DeviceRun) throws { try context.beginCopy(x, to: parked, number: parked) }
}

/// The end of a `Park`: what follows begins after the copy has ended.
struct ParkEnd: Op {
    var x: ValueID
    var parked: ValueID

    var kind: String { "park.end" }
    var reads: [ValueID] { [x, parked] }
    var writes: [ValueID] { [parked] }
    var completes: [ValueID] { [parked] }

    mutating func rename(_ name: Renaming) {
        name(&x)
        name(&parked)
    }

    func check(_ operands: inout OperandCheck) { operands.expectCopy(x, parked) }

    func work(_ context: WorkContext) -> [Work] { [.awaitCopy(number: parked.index)] }

    func run(_ context: borrowing CPURun) throws {}

    func run(_ context: borrowing DeviceRun) throws { try context.device.awaitCopy(number: parked.index) }
}

/// Begins to copy a parked value back, beside the ops that follow: out = parked. `out` is complete after its `FetchEnd`.
struct Fetch: Op {
    var parked: ValueID
    var out: ValueID

    var kind: String { "fetch" }
    var reads: [ValueID] { [parked] }
    var writes: [ValueID] { [out] }

    mutating func rename(_ name: Renaming) {
        name(&parked)
        name(&out)
    }

    func check(_ operands: inout OperandCheck) { operands.expectCopy(parked, out) }

    func work(_ context: WorkContext) -> [Work] { [.beginCopy(bytes: context.bytes(out), number: out.index)] }

    func run(_ context: borrowing CPURun) throws { throw CPURun.missing("memory beside the processor's") }

    func run(_ context: borrowing DeviceRun) throws { try context.beginCopy(parked, to: out, number: out) }
}

/// The end of a `Fetch`: what follows begins after the copy has ended.
struct FetchEnd: Op {
    var out: ValueID

    var kind: String { "fetch.end" }
    var reads: [ValueID] { [out] }
    var writes: [ValueID] { [out] }
    var completes: [ValueID] { [out] }

    mutating func rename(_ name: Renaming) { name(&out) }

    func check(_ operands: inout OperandCheck) {}

    func work(_ context: WorkContext) -> [Work] { [.awaitCopy(number: out.index)] }

    func run(_ context: borrowing CPURun) throws {}

    func run(_ context: borrowing DeviceRun) throws { try context.device.awaitCopy(number: out.index) }
}

extension OperandCheck {
    /// Requires a value and its copy to have one shape and type.
    fileprivate mutating func expectCopy(_ a: ValueID, _ b: ValueID) {
        let (from, to) = (values[a], values[b])
        require(from.shape == to.shape && from.type == to.type, "'\(from.name)' and its copy differ in shape or type")
    }
}

extension DeviceRun {
    /// Begins the copy of `from` to `to`, which `number` names.
    fileprivate func beginCopy(_ from: ValueID, to: ValueID, number: ValueID) throws {
        try device.beginCopy(address(from), to: address(to), bytes: values[from].byteCount, number: number.index)
    }
}
