import LorikeetDevices

/// y = x Wᵀ for up to sixteen rows of x and matrices stored as codes, on a card, without expanding the codes to memory (decode.cu). Used
/// in decoding, where expanding a matrix would cost more than the product.
struct CodesProduct {
    /// A matrix [outputs, columns] and the column of y at which its outputs begin.
    struct Matrix {
        let form: DeviceForm
        let outputs: Int
        let first: Int
    }

    /// Matrices of one launch: all of one format.
    private struct Group {
        let format: Int
        var matrices: [Matrix]
    }

    private var groups: [Group] = []
    private let columns: Int

    /// Rows of x; with more, expanding the matrix once is faster.
    static let maximumRows = 16
    private static let maximumMatrices = 4

    /// nil where a matrix is not stored as codes, or x has more than `maximumRows` rows.
    init?(_ matrices: [Matrix], rows: Int, columns: Int) {
        guard rows <= Self.maximumRows else { return nil }
        self.columns = columns
        for matrix in matrices {
            guard let format = Self.format(matrix.form) else { return nil }
            if let last = groups.indices.last, groups[last].format == format, groups[last].matrices.count < Self.maximumMatrices {
                groups[last].matrices.append(matrix)
            } else {
                groups.append(Group(format: format, matrices: [matrix]))
            }
        }
    }

    /// What decode.cu is compiled with for a format, numbered from 0: those of GGUF, then NF4.
    static func defines(format: Int) -> [String] { ["FORMAT=\(format)"] }
    static let formats = BlockFormat.allCases.count + 1

    /// The format's number in codes.cuh; nil for matrices that are not stored as codes.
    private static func format(_ form: DeviceForm) -> Int? {
        switch form {
        case .element: nil
        case .nf4: BlockFormat.allCases.count
        case .blocks(_, let format): BlockFormat.allCases.firstIndex(of: format)
        }
    }

    /// The launches that compute y [rows, ld] = x Wᵀ, one for each group of matrices. They overwrite the matrices' columns of y.
    func launches(
        x: DeviceAddress, y: DeviceAddress, rows: Int, ld: Int, output: DeviceElement, nestedValues: DeviceAddress, _ element: DeviceElement,
        _ card: AcceleratorProperties
    ) -> [KernelLaunch] {
        groups.map { group in
            let outputs = group.matrices.reduce(0) { $0 + $1.outputs }
            // The thread count fixes the summation order (the tiles do not), so it is chosen from sizes alone.
            let threads = columns >= 2048 ? 256 : 128
            let tiles = element != .f32 && rows > 4 && columns % 32 == 0 && outputs >= 64 * card.multiprocessors ? 4 : 2
            let blocks = group.matrices.reduce(0) { $0 + ($1.outputs + 8 * tiles - 1) / (8 * tiles) }
            var arguments = KernelArguments()
            for address in [x, y, nestedValues] { arguments.add(address) }
            Self.add(group.matrices, to: &arguments)
            for number in [rows, columns, ld, output == .f32 ? 1 : 0, tiles, group.format] { arguments.add(Int32(number)) }
            return KernelLaunch(
                "decode", "multiply_codes", element, grid: (blocks, 1, 1), threads: threads, arguments: arguments, defines: Self.defines(format: group.format))
        }
    }

    /// The kernel's arrays, one entry a matrix, filled up to four.
    private static func add(_ matrices: [Matrix], to arguments: inout KernelArguments) {
        let parts = matrices.fields(maximumMatrices, none: nil) { Optional($0.form.parts) }
        for part in parts { arguments.add(part?.codes) }
        for part in parts { arguments.add(part?.maxima) }
        for part in parts { arguments.add(part?.nested) }
        for outputs in matrices.fields(maximumMatrices, none: 0, \.outputs) { arguments.add(Int32(outputs)) }
        for first in matrices.fields(maximumMatrices, none: 0, \.first) { arguments.add(Int32(first)) }
        for part in parts { arguments.add(part?.offset ?? 0) }
    }
}

extension DeviceForm {
    /// The addresses of the codes and of what NF4 stores beside them.
    fileprivate var parts: (codes: DeviceAddress, maxima: DeviceAddress?, nested: DeviceAddress?, offset: Float) {
        switch self {
        case .element(let address), .blocks(let address, _): (address, nil, nil, 0)
        case .nf4(let codes, let maxima, let nested, let offset): (codes, maxima, nested, offset)
        }
    }
}

extension DeviceRun {
    /// y [rows, ld] = x [rows, columns] Wᵀ straight from the parts' codes. Returns false, without doing anything, where the rows are too many
    /// or a matrix is not stored as codes.
    func multiplyFromCodes(_ parts: [LinearPart], x: DeviceAddress, y: DeviceAddress, rows: Int, columns: Int, ld: Int, output: DeviceElement) throws
        -> Bool
    {
        guard rows <= CodesProduct.maximumRows else { return false }
        let matrices = try parts.map {
            CodesProduct.Matrix(form: try weights.matrix($0.weight.name + ".weight").form, outputs: $0.weight.rows, first: $0.firstRow)
        }
        guard let product = CodesProduct(matrices, rows: rows, columns: columns) else { return false }
        let launches = product.launches(
            x: x, y: y, rows: rows, ld: ld, output: output, nestedValues: weights.nestedValues, element, device.properties)
        for launch in launches { try device.launch(launch) }
        return true
    }
}
