/// The ops of a program while the fusion table joins them. Places stay the same until the end: what a row takes out is only marked.
struct FusedOps {
    private var entries: [OpList.Entry]
    private(set) var values: ValueTable
    var incomplete: Set<ValueID>
    let target: ProgramTarget
    private var removed: [Bool]
    /// By value, the places of the ops that name it, in order.
    private var namedBy: [[Int]]

    init(_ list: OpList) {
        (entries, values, incomplete, target) = (list.entries, list.values, list.incomplete, list.target)
        removed = Array(repeating: false, count: entries.count)
        namedBy = Array(repeating: [], count: values.values.count)
        for place in entries.indices { note(place) }
    }

    /// What is left.
    var list: OpList {
        OpList(entries: entries.indices.filter { !removed[$0] }.map { entries[$0] }, values: values, incomplete: incomplete, target: target)
    }

    func op(_ place: Int) -> any Op { entries[place].op }

    func isBackward(_ place: Int) -> Bool { entries[place].isBackward }

    func isRemoved(_ place: Int) -> Bool { removed[place] }

    /// Places of the ops that name `value`, in order.
    func users(of value: ValueID) -> [Int] { namedBy[value.index] }

    mutating func replace(_ place: Int, _ op: any Op) {
        forget(place)
        entries[place].op = op
        note(place)
    }

    mutating func remove(_ place: Int) {
        forget(place)
        removed[place] = true
    }

    private mutating func note(_ place: Int) {
        for id in entries[place].op.reads { note(place, id) }
        for id in entries[place].op.writes { note(place, id) }
    }

    private mutating func note(_ place: Int, _ id: ValueID) {
        let position = namedBy[id.index].lastIndex { $0 <= place }
        if let position, namedBy[id.index][position] == place { return }
        namedBy[id.index].insert(place, at: position.map { $0 + 1 } ?? 0)
    }

    private mutating func forget(_ place: Int) {
        for id in entries[place].op.reads + entries[place].op.writes { namedBy[id.index].removeAll { $0 == place } }
    }
}
