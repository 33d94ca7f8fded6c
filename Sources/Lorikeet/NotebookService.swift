import LorikeetDevices
import LorikeetGround

/// A notebook service that a process runs in, and what is particular to it.
package struct NotebookService: Sendable, Equatable {
    package enum Name: String, Sendable {
        case kaggle = "Kaggle"
        case colab = "Colab"
    }

    package let name: Name
    /// A saved version that runs unattended; false where somebody sits at the notebook.
    package let isBatch: Bool

    /// The service that the variables of the process name.
    package init?(variable: (String) -> String?) {
        if let type = variable("KAGGLE_KERNEL_RUN_TYPE") {
            (name, isBatch) = (.kaggle, type.lowercased() == "batch")
        } else if variable("COLAB_RELEASE_TAG") != nil {
            (name, isBatch) = (.colab, false)
        } else {
            return nil
        }
    }

    /// Kaggle keeps at most 20 GB of `/kaggle/working`, whatever free space the disk shows.
    package var quotas: [FolderQuota] { name == .kaggle ? [FolderQuota(path: "/kaggle/working", bytes: 20_000_000_000)] : [] }

    /// Where large temporary files go: the disk outside of the kept folder has more room.
    package var scratchFolder: String? { name == .kaggle ? "/tmp/lorikeet" : nil }

    /// Seconds after which the service ends a session with a card.
    package var longestSession: Double { name == .kaggle ? 12 * 3600 : 24 * 3600 }

    /// How a run that was stopped early goes on.
    package var goingOn: String {
        switch (name, isBatch) {
        case (.kaggle, true): "add this version's output as an input of the notebook and run it again with resume_from auto"
        case (.kaggle, false):
            "run the same cell again, or, in another session, save a version with this output, add that as an input and run with resume_from auto"
        case (.colab, _): "run the same cell again; keep the output on a mounted drive if the session is to end before"
        }
    }

    /// The session's age in seconds, and an identity that no other session has; nil where the container does not say them, or is older than a
    /// session can be.
    package func session(_ container: ContainerClock? = .current) -> ContainerClock? { container.flatMap { $0.age <= longestSession ? $0 : nil } }
}
