/// The ops of a program while the fusion table is applied. Indices stay valid until the end: a removed op is only marked.
struct FusedOps {
    private var entries: [OpList.Entry]
    private(set) var values: ValueTable
    var incomplete: Set<ValueID>
    let target: ProgramTarget
    private var removed: [Bool]
    /// For each value the indices of the ops that read or write it, ascending.
    private var usersByValue: [[Int]]

    init(_ list: OpList) {
        (entries, values, incomplete, target) = (list.entries, list.values, list.incomplete, list.target)
        removed = Array(repeating: false, count: entries.count)
        usersByValue = Array(repeating: [], count: values.values.count)
        for index in entries.indices { addUses(index) }
    }

    /// The ops that are left.
    var list: OpList {
        OpList(entries: entries.indices.filter { !removed[$0] }.map { entries[$0] }, values: values, incomplete: incomplete, target: target)
    }

    func op(_ index: Int) -> any Op { entries[index].op }

    func isBackward(_ index: Int) -> Bool { entries[index].isBackward }

    func isRemoved(_ index: Int) -> Bool { removed[index] }

    /// Indices of the ops that read or write `value`, ascending.
    func users(of value: ValueID) -> [Int] { usersByValue[value.index] }

    /// The first op after `index` that reads or writes `value`.
    func nextUser(of value: ValueID, after index: Int) -> Int? { usersByValue[value.index].first { $0 > index } }

    mutating func replace(_ index: Int, _ op: any Op) {
        removeUses(index)
        entries[index].op = op
        addUses(index)
    }

    mutating func remove(_ index: Int) {
        removeUses(index)
        removed[index] = true
    }

    private mutating func addUses(_ index: Int) {
        for id in entries[index].reads { addUses(index, id) }
        for id in entries[index].writes { addUses(index, id) }
    }

    private mutating func addUses(_ index: Int, _ id: ValueID) {
        let position = usersByValue[id.index].lastIndex { $0 <= index }
        if let position, usersByValue[id.index][position] == index { return }
        usersByValue[id.index].insert(index, at: position.map { $0 + 1 } ?? 0)
    }

    private mutating func removeUses(_ index: Int) {
        for id in entries[index].reads + entries[index].writes { usersByValue[id.index].removeAll { $0 == index } }
    }
}
