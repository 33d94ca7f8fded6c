import Glibc

/// Where a user's compiled kernels and samples are kept from start to start.
package enum CacheFolder {
    /// `XDG_CACHE_HOME/lorikeet`, else `HOME/.cache/lorikeet`; nil without either variable. A path that does not begin at the root would be another
    /// folder in every working directory: such a variable counts as not set, as the XDG specification asks.
    package static func path(_ variables: [String: String]) -> String? {
        func value(_ name: String) -> String? { variables[name].flatMap { $0.isAbsolutePath ? $0 : nil } }
        guard let base = value("XDG_CACHE_HOME") ?? value("HOME").map({ $0 + "/.cache" }) else { return nil }
        mkdir(base, 0o755)
        return base + "/lorikeet"
    }

    /// The folder that the process's own environment names.
    package static var ofProcess: String? {
        var variables: [String: String] = [:]
        for name in ["XDG_CACHE_HOME", "HOME"] { if let value = getenv(name) { variables[name] = String(cString: value) } }
        return path(variables)
    }
}
