import LorikeetGround
import LorikeetJSON

@testable import LorikeetHub
import MemoryFiles

extension FuzzTarget {
    private static let settings = try? HubSettings(environment: ["HOME": "/home/me", "HF_TOKEN": "hf_abcdefghijklmnopqrstuvwx"])

    /// A hub's listing of a repository, up to the files that are needed; an index of shards; addresses that it redirects to.
    static let hub = FuzzTarget(name: "hub") { bytes in
        guard let settings, let token = settings.token else { return }
        let disk = MemoryFiles(folder: "h", bytes)
        let answer = try token.removed(from: JSON.parse(disk.contents["h/listing"] ?? Array(bytes), source: "hub"))
        for line in (disk.contents["h/locations"] ?? []).split(separator: UInt8(ascii: "\n")) {
            let location = String(decoding: line, as: UTF8.self)
            guard let address = settings.endpoint.following(location) else { continue }
            _ = (address.isLocal, address.hasOrigin(of: settings.endpoint), WebAddress(address.text))
            _ = try? HubName(location, kind: .model, endpoint: settings.endpoint)
        }
        for name in ["org/model", "org/model:Q4_K_M", "hf://datasets/org/data", "hf://datasets/org/data@main/part"] {
            let name = try HubName(name, kind: .model)
            do {
                let listing = try RepositoryListing(answer, name: name, source: "hub")
                let needed = NeededFiles(name: name, settings: settings, files: disk)
                let choice = try needed.choose(listing.files.map { ($0.path, $0.size) })
                let shards = try needed.shards(of: choice, folder: "h")
                for path in choice.files + shards where !path.isPathInFolder { throw Outside(path: path) }
            } catch { try Texts.expectSentence(error) }
        }
    }

    /// A path that would lead out of the cache's folder.
    private struct Outside: Error { let path: String }
}
