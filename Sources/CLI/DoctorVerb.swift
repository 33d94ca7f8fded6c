import ArgumentParser

struct DoctorVerb: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "doctor", abstract: "")
    func run() throws {}
}
