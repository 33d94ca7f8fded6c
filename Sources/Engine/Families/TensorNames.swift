import LorikeetJSON

/// The tensor names of one file format, both ways.
package struct TensorNames: Sendable {
    private let rules: [TensorRule]
    /// The beginnings of names in the family's naming and in the file's.
    private let modules: [(name: String, file: String)]

    package init(_ rules: [TensorRule]) { (self.rules, modules) = (rules, []) }

    /// Names that differ in the modules they begin with alone.
    init(modules: [(name: String, file: String)]) { (rules, self.modules) = ([], modules) }

    /// Where a tensor stands in the other naming.
    package struct Place: Sendable {
        package let name: String
        /// The rule's place in the table: the order of the rows in a fused matrix.
        package let rule: Int
        package let transform: TensorTransform
    }

    /// The file's name of a family's tensor.
    package func inFile(_ name: String) -> Place? {
        for (number, module) in modules.enumerated() where name.hasPrefix(module.name) {
            return Place(name: module.file + name.dropFirst(module.name.count), rule: number, transform: .none)
        }
        return first(name, from: \.name, to: \.file)
    }

    /// The family's names of a file's tensor: several for a fused matrix.
    package func inFamily(_ name: String) -> [Place] {
        rules.enumerated().compactMap { number, rule in place(name, number, rule, from: \.file, to: \.name) }
    }

    private func first(_ name: String, from: KeyPath<TensorRule, TensorPattern>, to: KeyPath<TensorRule, TensorPattern>) -> Place? {
        for (number, rule) in rules.enumerated() {
            if let place = place(name, number, rule, from: from, to: to) { return place }
        }
        return nil
    }

    private func place(
        _ name: String, _ number: Int, _ rule: TensorRule, from: KeyPath<TensorRule, TensorPattern>, to: KeyPath<TensorRule, TensorPattern>
    ) -> Place? {
        for ending in rule.endings where name.hasSuffix(ending) {
            guard let layer = rule[keyPath: from].layer(of: name.dropLast(ending.count)) else { continue }
            return Place(name: rule[keyPath: to].name(layer: layer) + ending, rule: number, transform: rule.transform)
        }
        return nil
    }
}

extension Ignored {
    /// Whether `tensor` is one that this line names.
    func names(tensor: String) -> Bool { TensorPattern(name).layer(of: tensor) != nil }
}
