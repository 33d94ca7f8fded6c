import Glibc
import Lorikeet
import LorikeetDevices
import LorikeetGround

/// What is particular to the notebook service that this process runs in.
enum Notebook {
    static let service = NotebookService { name in getenv(name).map { String(cString: $0) } }

    /// The disk, with the limit of the folder that the service keeps.
    static let files = RealFiles(quotas: service?.quotas ?? [])

    /// Where samples are kept between starts unless the recipe names a scratch folder.
    static var samplesFolder: String? { service?.scratchFolder ?? DeviceOptions.cacheFolder }

    /// The session's start: the container's in a notebook, else this process's.
    static var session: SessionStart? {
        service?.session().map { SessionStart(started: SystemClock().uptime - $0.age, identity: $0.identity) }
    }

    /// Seconds of the session that are over.
    static var elapsed: Double { session.map { SystemClock().uptime - $0.started } ?? 0 }

    /// Where earlier outputs may be attached: Kaggle's folder, and those of the variable LORIKEET_INPUTS, separated by colons.
    static var inputFolders: [String] {
        ["/kaggle/input"] + (getenv("LORIKEET_INPUTS").map { String(cString: $0).split(separator: ":").map(String.init) } ?? [])
    }
}
