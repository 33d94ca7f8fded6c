import LorikeetDatasets
import LorikeetEngine

extension [SampleGroup] {
    /// The micro-batches of one optimiser step; training and planning take them from here.
    ///
    /// With replicas those are taken that need the least time (`Replicas.work`): as without replicas, or smaller ones of about one size, as many as there are
    /// replicas or a multiple of that. Long samples and long common beginnings speak for the former.
    ///
    /// - Parameters:
    ///   - rows: that a micro-batch on all threads may have.
    ///   - groups: the micro-batches of the step where each may have so many rows.
    package static func ofStep(_ replicas: Replicas, rows: Int, _ groups: (_ rows: Int) -> [SampleGroup]) -> [SampleGroup] {
        let alone = groups(rows)
        guard replicas.count > 1 else { return alone }
        let (all, together) = (alone.reduce(0) { $0 + $1.rows }, replicas.count * replicas.rows)
        let wanted = (all + together - 1) / together * replicas.count
        // Samples do not fill micro-batches of the mean size: some room more, and more again.
        let rooms = [9, 12].map { Swift.min(replicas.rows, all * $0 / (8 * Swift.max(1, wanted)) + 1) }
        var (best, least) = (alone, replicas.work(alone.map(\.rows)))
        for room in rooms {
            let even = groups(room)
            let work = replicas.work(even.map(\.rows))
            if work < least { (best, least) = (even, work) }
        }
        return best
    }
}
