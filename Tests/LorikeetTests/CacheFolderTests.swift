import Foundation
import Testing

@testable import Lorikeet

struct CacheFolderTests {
    @Test func `the cache is where the environment says, at a path that begins at the root`() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "lorikeet-cache-" + UUID().uuidString).path
        for (variables, path) in [
            ([:], nil), (["HOME": root], root + "/.cache/lorikeet"), (["XDG_CACHE_HOME": root, "HOME": "/x"], root + "/lorikeet"),
            (["XDG_CACHE_HOME": "", "HOME": root], root + "/.cache/lorikeet"), (["XDG_CACHE_HOME": "cache", "HOME": root], root + "/.cache/lorikeet"),
            (["XDG_CACHE_HOME": "~/c", "HOME": "."], nil), (["HOME": ""], nil),
        ] as [([String: String], String?)] { #expect(CacheFolder.path(variables) == path, "\(variables)") }
        #expect(!FileManager.default.fileExists(atPath: "cache") && !FileManager.default.fileExists(atPath: "~"))
    }
}
