/// What is trained of a model: the list of its trained tensors, each with its range of the flat buffers.
package struct TrainedLayout: Sendable {
    package let kinds: [any TrainedKind]
    /// In the order in which adapter files hold them.
    package private(set) var tensors: [TrainedTensor] = []
    package private(set) var elementCount = 0
    private var places: [Key: Int] = [:]

    private struct Key: Hashable {
        let role: TrainedRole
        let module: String
    }

    /// Nothing is trained.
    package static let none = TrainedLayout()

    private init() { kinds = [] }

    /// - Parameters:
    ///   - settings: nil trains nothing.
    ///   - weights: the model's frozen tensors.
    /// - Throws: exit 2 where the settings ask for something that the model does not have.
    package init(_ settings: LoRASettings?, weights: [WeightDeclaration]) throws {
        try self.init(kinds: settings.map(TrainedKinds.asked) ?? [], weights: weights)
    }

    /// Tensors of one role lie one behind the other: those of linears side by side (q, k, v) are one matrix then.
    package init(kinds: [any TrainedKind], weights: [WeightDeclaration]) throws {
        self.kinds = kinds
        var declared: [(declaration: TrainedDeclaration, kind: Int)] = []
        for (kind, value) in kinds.enumerated() { declared += try value.tensors(of: weights).map { ($0, kind) } }
        var (sizes, roles): ([TrainedRole: Int], [TrainedRole]) = ([:], [])
        for (declaration, _) in declared {
            if sizes[declaration.role] == nil { roles.append(declaration.role) }
            sizes[declaration.role, default: 0] += declaration.shape.reduce(1, *)
        }
        var (next, numbers): ([TrainedRole: Int], [TrainedRole: Int]) = ([:], [:])
        for role in roles {
            next[role] = elementCount
            elementCount += sizes[role, default: 0]
        }
        for (declaration, kind) in declared {
            let role = declaration.role
            let tensor = TrainedTensor(
                role: role, module: declaration.module, name: declaration.name, shape: declaration.shape, number: numbers[role, default: 0],
                offset: next[role, default: 0], kind: kind)
            numbers[role, default: 0] += 1
            next[role, default: 0] += tensor.elementCount
            places[Key(role: role, module: declaration.module)] = tensors.count
            tensors.append(tensor)
        }
    }

    /// The tensor of a role in a module; nil where none is trained there.
    package func tensor(_ role: TrainedRole, of module: String) -> TrainedTensor? { places[Key(role: role, module: module)].map { tensors[$0] } }
}
