import LorikeetGround

/// Methods of mappings, lists, loops and counters, as Python names them.
extension TemplateRun {
    /// nil when values of this kind have no such method.
    func call(method: String, on value: TemplateValue, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        if let methods = PythonMethods.of(value), methods.changing.contains(method) {
            throw failure("“\(method)” would change \(value.kind), which a chat template must not do")
        }
        try charge(reading: value, arguments)
        switch value {
        case .string(let text): return try call(method: method, on: text, arguments)
        case .markup(let text): return try call(method: method, on: text, arguments)
        case .mapping(let mapping): return try call(method: method, on: mapping, arguments)
        case .list(let values): return try call(method: method, on: values, arguments)
        case .loop(let loop): return try call(method: method, on: loop, arguments)
        case .counter(let index):
            guard !counters[index].isJoiner else { return nil }
            if method == "next" { return take(from: index) }
            if method == "reset" {
                counters[index].taken = 0
                return TemplateValue.none
            }
            return nil
        default: return nil
        }
    }

    private func call(method: String, on loop: LoopState, _ arguments: EvaluatedArguments) throws -> TemplateValue? {
        switch method {
        case "cycle":
            guard !arguments.positional.isEmpty else { throw failure("loop.cycle needs values") }
            return arguments.positional[loop.index0 % arguments.positional.count]
        case "changed": return .bool(try changed(loop, arguments.positional))
        default: return nil
        }
    }

    private func call(
        method: String, on mapping: TemplateMapping, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch method {
        case "items":
            try charge(elements: 2 * mapping.entries.count)
            return .list(mapping.entries.map { .tuple([$0.key.value, $0.value]) })
        case "keys": return .list(try elements(of: .mapping(mapping)))
        case "values":
            try charge(elements: mapping.entries.count)
            return .list(mapping.entries.map(\.value))
        case "copy": return .mapping(mapping)
        case "get":
            guard let key = arguments.value(0, "key") else { throw failure("“get” needs a key") }
            if let name = try mappingKey(key) {
                notes.noteRead(name.text, of: mapping)
                if let value = mapping[name] { return value }
            }
            return arguments.value(1, "default") ?? TemplateValue.none
        default: return nil
        }
    }

    private func call(
        method: String, on list: TemplateList, _ arguments: EvaluatedArguments
    ) throws -> TemplateValue? {
        switch method {
        case "count", "index":
            guard let wanted = arguments.positional.first else { throw failure("“\(method)” needs a value") }
            if method == "count" { return .integer(try list.values.filter { try equal($0, wanted) }.count) }
            guard let place = try list.values.firstIndex(where: { try equal($0, wanted) }) else {
                throw failure("the list does not contain the value")
            }
            return .integer(place)
        case "copy": return list.isTuple ? nil : .list(list)
        default: return nil
        }
    }
}
