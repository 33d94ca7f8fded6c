import LorikeetGround

/// A model that llama.cpp's gguf-split has cut into files: `NAME-00001-of-00003.gguf`, … Each part says the number of parts (`split.count`)
/// and its own from 0 on (`split.no`); the first holds the model's metadata.
enum GGUFParts {
    /// All parts of the model that `named` is a part of, in order.
    ///
    /// - Throws: exit 2 naming the part that is missing, or that does not belong to the others.
    static func open(_ named: GGUFFile, count: Int, files: any Files) throws -> [GGUFFile] {
        let path = named.path
        let number = named.metadata["split.no"]?.int
        guard let name = PartName(path), name.count == count, number == name.number - 1 else {
            throw LorikeetError.input(
                "the file is one of \(count) parts of a model\(number.map { " (number \($0 + 1))" } ?? ""), and its name does not say the same", at: path,
                fix: "give the parts the names of llama.cpp: NAME-00001-of-\(count.zeroPadded(to: 5)).gguf and so on")
        }
        // All are looked for before one is opened: a file may claim 65,535 parts.
        let paths = (1...count).map(name.path)
        for other in paths where !files.exists(other) {
            throw LorikeetError.input("a part of the model is missing (it has \(count))", at: other, fix: "fetch this file too, into the same folder")
        }
        var parts: [GGUFFile] = []
        for (place, other) in paths.enumerated() {
            let part = other == path ? named : try GGUFFile(part: other, files: files)
            guard part.metadata["split.count"]?.int == count, part.metadata["split.no"]?.int == place else {
                throw LorikeetError.input(
                    "the file is not part \(place + 1) of \(count), as its name says", at: other, fix: "fetch the parts of one model")
            }
            parts.append(part)
        }
        let tensors = parts.reduce(0) { $0 + $1.names.count }
        if let wanted = named.metadata["split.tensors.count"]?.int, wanted != tensors {
            throw LorikeetError.input("the parts hold \(tensors) tensors and not \(wanted)", at: path, fix: "fetch the parts of one model")
        }
        return parts
    }
}

/// `PREFIX-00001-of-00003.gguf`
private struct PartName {
    let number: Int
    let count: Int
    private let prefix: String

    init?(_ path: String) {
        let ending = ".gguf"
        let name = Array(path.utf8)
        // -00001-of-00003.gguf
        let tail = 1 + 5 + 4 + 5 + ending.utf8.count
        guard name.count >= tail, path.hasSuffix(ending) else { return nil }
        let end = name.count - ending.utf8.count
        func digits(_ range: Range<Int>) -> Int? { Int(String(decoding: name[range], as: UTF8.self)).flatMap { $0 > 0 ? $0 : nil } }
        guard let count = digits(end - 5..<end), let number = digits(end - 14..<end - 9), name[end - 15] == UInt8(ascii: "-"),
            name[end - 9..<end - 5].elementsEqual("-of-".utf8), number <= count
        else { return nil }
        self.number = number
        self.count = count
        prefix = String(decoding: name[..<(end - 15)], as: UTF8.self)
    }

    func path(_ number: Int) -> String { "\(prefix)-\(number.zeroPadded(to: 5))-of-\(count.zeroPadded(to: 5)).gguf" }
}
