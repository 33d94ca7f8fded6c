import ArgumentParser
import Lorikeet
import LorikeetGround
import LorikeetJSON
import LorikeetReporting

struct ReportVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Makes report.html of a run's directory again; of several, one page that compares them.",
        discussion: "Example: lorikeet report out other-out --output compared.html")
    @Argument(help: "The --output directories of one run or several.") var folders: [String]
    @Option(help: "The page's file [FOLDER/report.html; of several runs report.html here].") var output: String?
    @Flag(help: "Print what the page says as JSON.") var json = false

    func run() throws {
        let files = RealFiles()
        if let output { try Self.requirePlace(output, files) }
        let runs = folders.map { RunFolder(path: $0) }
        let page = ReportPage(runs: Self.named(try runs.map { try $0.record() }, folders))
        let path = output ?? (runs.count == 1 ? runs[0].report : "report.html")
        // The run itself may be writing its page.
        try files.createDirectory(RealFiles.parent(of: path))
        try files.writeDurably(page.html(), to: path, beside: .ofThisProcess)
        let damaged = zip(folders, page.runs).filter { $1.log.damagedLines > 0 }
        Screen.warn(
            damaged.map { folder, run in
                let count = run.log.damagedLines
                return "\(folder)/events.jsonl: \(count) damaged line\(count == 1 ? " is" : "s are") left out"
            })
        Screen.out(json ? (["page": .string(path), "runs": page.json] as JSON).serialized(pretty: true) + "\n" : path + "\n")
    }

    /// Checks that nothing but an earlier page would be written over.
    ///
    /// - Throws: exit 2.
    private static func requirePlace(_ output: String, _ files: any Files) throws {
        if files.isRegular(output), try ReportPage.isPage(files.read(output)) { return }
        try files.requireNew(output)
    }

    /// Runs of the same name get their paths as names.
    private static func named(_ records: [RunRecord], _ folders: [String]) -> [RunRecord] {
        let same = Set(records.map(\.name)).count < records.count
        return zip(records, folders).map { record, folder in
            var record = record
            if same { record.name = folder }
            return record
        }
    }
}
