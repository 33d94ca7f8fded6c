import LorikeetGround
import LorikeetDevices
import LorikeetModelFiles

/// Collects the values of a case and their contents, for one target. Every case is built twice, for the processor and for a card, with the
/// same random numbers. Both sides get them rounded to the card's element type, so that only the arithmetic differs.
struct CaseBuilder {
    /// Which type a value has on a card; float32 on the processor.
    enum Role {
        case activation, residual, plain
    }

    /// How two results are compared.
    enum Measure {
        /// The largest difference, divided by the largest magnitude of the reference.
        case ofLargest
        /// The number of elements that are zero on one side only: compares dropout masks.
        case zeros
    }

    enum Contents {
        case floats([Float])
        case integers([Int32])
    }

    struct Compared {
        let id: ValueID
        let name: String
        let measure: Measure
        let tolerance: Double
    }

    struct Matrix {
        let name: String
        let rows, columns: Int
        let numbers: [Float]
        let storage: BaseStorage
    }

    let target: ProgramTarget
    /// The card's type of activations.
    let element: DeviceElement
    private(set) var values = ValueTable()
    private(set) var contents: [Int: Contents] = [:]
    private(set) var compared: [Compared] = []
    private(set) var vectors: [(name: String, numbers: [Float])] = []
    private(set) var matrices: [Matrix] = []
    /// Trained parameters, flat, and what their gradients hold before.
    private(set) var parameters: [Float] = []
    private(set) var gradients: [Float] = []
    /// Rows with a target, for the head.
    var trainedRows = 0
    private var drawn: UInt64 = 0

    init(target: ProgramTarget, element: DeviceElement) {
        (self.target, self.element) = (target, element)
    }

    /// Uniform in ±spread.
    mutating func numbers(_ count: Int, spread: Float = 1) -> [Float] {
        defer { drawn += UInt64(count) }
        return (0..<count).map { uniform(drawn + UInt64($0)) * spread }
    }

    private func type(_ role: Role) -> ValueType {
        switch role {
        case .activation: target.element
        case .residual: target.residual
        case .plain: .f32
        }
    }

    /// What the card can hold of `numbers`.
    private func rounded(_ numbers: [Float], _ role: Role) -> [Float] {
        let type: DeviceElement =
            switch role {
            case .activation: element
            case .residual: element == .f16 ? .f32 : element
            case .plain: .f32
            }
        return type.decode(type.encode(numbers))
    }

    /// A value that the ops read; random in ±1 where no numbers are given.
    mutating func given(
        _ name: String, _ shape: [Int], _ role: Role = .activation, _ numbers: [Float]? = nil, spread: Float = 1, kind: ValueKind = .input
    ) -> ValueID {
        let id = values.add(name, shape, type(role), kind)
        contents[id.index] = .floats(rounded(numbers ?? self.numbers(shape.reduce(1, *), spread: spread), role))
        return id
    }

    mutating func integers(_ name: String, _ numbers: [Int32]) -> ValueID {
        let id = values.add(name, [numbers.count], .i32, .input)
        contents[id.index] = .integers(numbers)
        return id
    }

    /// A value that the ops write; it holds no numbers before.
    mutating func made(_ name: String, _ shape: [Int], _ role: Role = .activation) -> ValueID { values.add(name, shape, type(role), .transient) }

    /// Room that only the processor's ops need.
    mutating func scratch(_ floats: Int) -> ValueID? { target.isDevice ? nil : made("scratch", [floats], .plain) }

    /// - Parameters:
    ///   - roundings: the tolerance, in units of the last place of the card's type (of 2^-19 in float32, where it stands for another
    ///     order of summation).
    ///   - type: where it is not the card's that rounds.
    mutating func compare(_ id: ValueID, roundings: Double, in type: DeviceElement? = nil, _ measure: Measure = .ofLargest) {
        let tolerance = measure == .zeros ? 0 : roundings * (type ?? element).unit
        compared.append(Compared(id: id, name: values[id].name, measure: measure, tolerance: tolerance))
    }

    mutating func vector(_ name: String, _ count: Int) { vectors.append((name, numbers(count))) }

    mutating func matrix(_ name: String, rows: Int, columns: Int, spread: Float = 1, storage: BaseStorage = .f32) {
        matrices.append(
            Matrix(name: name, rows: rows, columns: columns, numbers: rounded(numbers(rows * columns, spread: spread), .activation), storage: storage))
    }

    mutating func parameter(_ name: String, _ shape: [Int]) -> ValueID {
        let id = values.add(name, shape, .f32, .parameter, flatOffset: parameters.count)
        parameters += rounded(numbers(shape.reduce(1, *)), .activation)
        gradients += numbers(shape.reduce(1, *))
        return id
    }

    mutating func gradient(of parameter: ValueID) -> ValueID {
        let value = values[parameter]
        return values.add("d.\(value.name)", value.shape, .f32, .parameterGradient, flatOffset: value.flatOffset)
    }
}

extension DeviceElement {
    /// The share of a number by which rounding may change it; in float32 what other orders of summation change.
    var unit: Double {
        switch self {
        case .f32: 0x1p-19
        case .f16: 0x1p-11
        case .bf16: 0x1p-8
        }
    }

    private var fileType: ElementType { [.f32, .f16, .bf16][Int(rawValue)] }

    /// Numbers as bytes of this type.
    func encode(_ numbers: [Float]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: numbers.count * self.bytes)
        _ = bytes.withUnsafeMutableBytes { to in to.baseAddress.map { LorikeetEngine.encode(numbers, count: numbers.count, as: fileType, into: $0) } }
        return bytes
    }

    func decode(_ bytes: [UInt8]) -> [Float] {
        bytes.withUnsafeBytes { raw in
            (0..<raw.count / self.bytes).map { i in
                switch self {
                case .f32: raw.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
                case .f16: Float(raw.loadUnaligned(fromByteOffset: 2 * i, as: Float16.self))
                case .bf16: Float(bitPattern: UInt32(raw.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16)
                }
            }
        }
    }
}
