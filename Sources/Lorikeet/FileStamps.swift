import LorikeetGround
import LorikeetHub
import LorikeetJSON

/// Names, sizes and modification times of a model's files: whether they are the same as before, without reading them. A file whose time has
/// changed counts as another one, even where its bytes have not.
package enum FileStamps {
    /// - Parameter path: a file or a folder. One in a hub's cache stands for itself: its path names the commit, and other programs add files to
    ///   the folder that are none of the model's.
    package static func of(_ path: String, files: any Files = RealFiles()) throws -> JSON {
        guard files.exists(path), !Hub.isInSnapshot(path) else { return .string(path) }
        func stamp(_ path: String) throws -> String {
            let seconds = files.modificationSeconds(of: path).map { "\($0)" } ?? "?"
            return "\(path) \(try files.byteCount(of: path)) \(seconds)"
        }
        guard files.isDirectory(path) else { return .string(try stamp(path)) }
        let folder = RealFiles.trimmed(path)
        return JSON(try files.list(folder).map { folder + "/" + $0 }.filter { !files.isDirectory($0) }.map(stamp))
    }
}
