import LorikeetChecks
import LorikeetGround
import LorikeetJSON

extension DoctorVerb {
    /// Opens, uses and closes a card so many times, and says what memory is in use after each tenth. Exit 1 where it grows.
    func checkLeaks(rounds: Int) throws {
        var place = place
        if place.device == "cpu" { place.device = "cuda:0" }
        let readings = try LeakCheck(rounds: rounds, open: { [place] in try place.compute() }).run { reading in
            guard !json else { return }
            let (card, process) = (Units.formatBytes(Int64(reading.deviceBytes)), Units.formatBytes(Int64(reading.residentBytes)))
            Screen.out("round \(reading.round): \(card) of the card in use, \(process) of memory by this process\n")
        }
        let growth = LeakCheck.growth(readings)
        let leaks = LeakCheck.leaks(readings)
        if json {
            let all: JSON = [
                "rounds": JSON(rounds), "device_bytes_growth": JSON(growth.deviceBytes), "resident_bytes_growth": JSON(growth.residentBytes),
                "device_bytes_limit": JSON(LeakCheck.deviceLimit), "resident_bytes_limit": JSON(LeakCheck.residentLimit), "pass": .bool(!leaks),
                "readings": .array(readings.map(\.json)),
            ]
            Screen.out(all.serialized(pretty: true) + "\n")
        } else {
            func line(_ what: String, _ bytes: Int, _ limit: Int) -> String {
                "\(what): \(bytes < 0 ? "-" : "+")\(Units.formatBytes(Int64(abs(bytes)))) after the first tenth, at most +\(Units.formatBytes(Int64(limit)))\n"
            }
            Screen.out(line("card", growth.deviceBytes, LeakCheck.deviceLimit) + line("process", growth.residentBytes, LeakCheck.residentLimit))
        }
        if leaks {
            throw LorikeetError(.checkFailed, "memory grows with each use of the card", at: "--leaks", fix: "report this with lorikeet doctor's output")
        }
    }
}
