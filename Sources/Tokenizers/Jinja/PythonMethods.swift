/// The names of the methods that Python's types have. Jinja finds them before a mapping's keys, called or not.
struct PythonMethods {
    /// Methods that read.
    let reading: Set<String>
    /// Methods that would change a list or mapping: forbidden in transformers' sandbox.
    let changing: Set<String>

    static func of(_ value: TemplateValue) -> PythonMethods? {
        switch value {
        case .string, .markup: string
        case .mapping: mapping
        case .list(let list): list.isTuple ? tuple : self.list
        case .loop: loop
        case .counter: counter
        default: nil
        }
    }

    private static let string = PythonMethods(
        reading: [
            "capitalize", "casefold", "center", "count", "encode", "endswith", "expandtabs", "find", "format", "format_map", "index", "isalnum",
            "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper",
            "join", "ljust", "lower", "lstrip", "maketrans", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust",
            "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "translate", "upper", "zfill",
        ], changing: [])
    private static let mapping = PythonMethods(
        reading: ["copy", "fromkeys", "get", "items", "keys", "values"],
        changing: ["clear", "pop", "popitem", "setdefault", "update"])
    private static let list = PythonMethods(
        reading: ["copy", "count", "index"],
        changing: ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"])
    private static let tuple = PythonMethods(reading: ["count", "index"], changing: [])
    private static let loop = PythonMethods(reading: ["changed", "cycle"], changing: [])
    private static let counter = PythonMethods(reading: ["next", "reset"], changing: [])
}
