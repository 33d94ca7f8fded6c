import LorikeetGround

/// What files that are made of a model are called after it.
package enum ModelName {
    /// The name of a model that a path or a hub's name stands for. A folder in a hub's cache has the name of the hub, and a folder that a run made
    /// (`merged`, as in every run) that of the run's base.
    package static func of(_ model: String, files: any Files) -> String { of(origin(of: model, files: files, depth: 0)) }

    /// - Parameter depth: how many runs were followed from base to base: files may name each other in a circle.
    private static func origin(of model: String, files: any Files, depth: Int) -> String {
        guard files.isDirectory(model) else { return model }
        let path = RealFiles.absolute(model)
        if let name = BaseOrigin.cachedName(path) { return name }
        guard depth < 8, OutputParts.Part(rawValue: BaseOrigin.lastPart(path)) != nil else { return path }
        if let base = OutputDirectory.recipe(ofPart: path, files: files)?.model { return origin(of: base, files: files, depth: depth + 1) }
        // Away from its run, the folder's card may name the base.
        return BaseOrigin.base(ofCard: path + "/README.md", files: files) ?? path
    }

    /// Whether a folder holds what a run delivered, so that it is the run's base, fine-tuned. Away from its run, the card in it says so.
    package static func isOfRun(_ model: String, files: any Files) -> Bool {
        guard files.isDirectory(model) else { return false }
        let path = RealFiles.absolute(model)
        guard OutputParts.Part(rawValue: BaseOrigin.lastPart(path)) != nil else { return false }
        return OutputDirectory.recipe(ofPart: path, files: files) != nil || BaseOrigin.base(ofCard: path + "/README.md", files: files) != nil
    }

    /// The last part of a path or of a hub's name, without `.gguf`, a quantisation's name at the end, and a revision; only letters, digits, `-`, `_`
    /// and `.` stay.
    package static func of(_ model: String) -> String {
        var name = RealFiles.trimmed(model)
        // ORG/NAME@REVISION, ORG/NAME:Q4_K_M
        if let last = name.lastPathPart { name = last }
        for mark in ["@", ":"] { if let place = name.firstIndex(of: Character(mark)), place != name.startIndex { name = String(name[..<place]) } }
        if name.hasSuffix(".gguf") { name = withoutQuantisation(String(name.dropLast(".gguf".count))) }
        name = String(name.unicodeScalars.map { isPlain($0) ? Character($0) : "-" })
        return name.allSatisfy { $0 == "." || $0 == "-" } ? "model" : String(name.prefix(longest))
    }

    /// Checks a name that the user gives to files.
    ///
    /// - Throws: exit 2 where it leads into another folder, cannot be shown, looks like an option or a hidden file, or is too long.
    package static func require(_ name: String, at option: String) throws {
        let reason: String? =
            if name.allSatisfy(\.isWhitespace) { "is empty" } else if name.holdsSlash { "holds a slash" } else if name.hasPrefix(".") || name.hasPrefix("-") {
                "begins with '\(name.prefix(1))'"
            } else if name.unicodeScalars.contains(where: \.isUnprintable) { "holds a character that cannot be shown" } else if name.utf8.count > longest {
                "is longer than \(longest) bytes"
            } else { nil }
        guard let reason else { return }
        throw LorikeetError.input("the name \(reason), and files are called after it", at: option, fix: "give a plain name, such as my-model")
    }

    /// Bytes of a name; a form's name and the endings of files follow it, and file systems take 255.
    private static let longest = 150

    /// `ORG/NAME` where the text names a model on a hub; nil where it is a path of this machine.
    package static func onHub(_ model: String, files: any Files = RealFiles()) -> String? { BaseOrigin.hubName(model, kind: .model, files: files) }

    /// A path's last part, as a card may show it.
    package static func shown(_ path: String) -> String { BaseOrigin.lastPart(RealFiles.absolute(path)) }

    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil || "-_.".unicodeScalars.contains(scalar))
    }

    /// `NAME.Q4_K_M`, `NAME-f16` → `NAME`
    private static func withoutQuantisation(_ name: String) -> String {
        guard let mark = name.lastIndex(where: { $0 == "." || $0 == "-" }), mark != name.startIndex else { return name }
        let ending = name[name.index(after: mark)...].uppercased()
        let isPlain = ["F16", "F32", "BF16"].contains(ending)
        let isBlocks = ending.hasPrefix("Q") || ending.hasPrefix("IQ")
        return isPlain || isBlocks && ending.dropFirst(ending.hasPrefix("I") ? 2 : 1).first?.isNumber == true ? String(name[..<mark]) : name
    }
}
