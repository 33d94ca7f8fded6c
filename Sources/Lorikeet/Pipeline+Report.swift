import LorikeetGround
import LorikeetReporting

/// What a run writes for people while it goes on: `report.html`, and TensorBoard's files.
extension Pipeline {
    /// Begins both, once the directory is this run's. A run goes on where one of them cannot be written.
    func openReports() throws {
        // A folder that is made in it would make it again.
        try target.requireInPlace()
        let folder = RunFolder(path: output.path, files: environment.files)
        if let tensorBoard {
            try reporter.attempt(tensorBoard) {
                try tensorBoard.open(
                    folder: output.path + "/tensorboard", time: environment.clock.now, settings: recipe.reportedSettings, recipe: recipe.yaml(),
                    files: environment.files)
            }
        }
        try reporter.attempt(page) {
            try page.open(path: folder.report, events: output.events, files: environment.files) { try folder.record($0) }
        }
    }

    /// Makes the page of a finished run again where it is missing or older than the run's summary. It is a view of what is there: where it cannot be
    /// written, in a directory that may only be read for one, a warning says so.
    func refreshReport() throws {
        let (folder, files) = (RunFolder(path: output.path, files: environment.files), environment.files)
        guard files.exists(output.events) else { return }
        let made = files.exists(folder.report) ? files.modificationSeconds(of: folder.report) ?? 0 : 0
        let changed = [output.events, output.summaryJSON].compactMap { files.modificationSeconds(of: $0) }.max() ?? 0
        guard made < changed else { return }
        try reporter.attempt(page) { try files.writeDurably(ReportPage(runs: [folder.record()]).html(), to: folder.report, beside: .ofThisProcess) }
    }
}
