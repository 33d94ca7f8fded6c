/// What a rendering notes on the way: where each message is written, what `{% generation %}` marks, and which turns read other messages.
struct RunNotes: Sendable {
    /// A stretch of the output that one turn of a loop over the messages wrote.
    struct Region: Equatable, Sendable {
        let message: Int
        let range: Range<Int>
    }

    /// The text of a `{% generation %}` block.
    struct Generated: Equatable, Sendable {
        /// The message whose turn of a loop it stands in; nil outside such a loop.
        let message: Int?
        let range: Range<Int>
    }

    var tracksPlaces = false
    /// Captured blocks and macros that are open: what they write has no place in the output yet.
    var captures = 0
    /// In the order in which they ended; inner loops' regions stand before the outer's. Never empty ranges.
    private(set) var regions: [Region] = []
    private(set) var generated: [Generated] = []
    /// The line of a `{% generation %}` inside a macro or a captured block: its place cannot be told.
    private(set) var unplacedGeneration: Int?
    /// Where each written piece begins, ascending: the template's author put the parts of a turn together there.
    private(set) var boundaries: [Int] = []
    /// Messages during whose turn of a loop something of another message was read, its role aside: it may have been written there.
    private(set) var readersOfOthers: Set<Int> = []
    private var current: [Int] = []

    mutating func enter(message: Int) { current.append(message) }

    mutating func leave(message: Int, wrote range: Range<Int>) {
        current.removeLast()
        if tracksPlaces, captures == 0, !range.isEmpty { regions.append(Region(message: message, range: range)) }
    }

    mutating func noteBoundary(_ place: Int) {
        if tracksPlaces, captures == 0, boundaries.last != place { boundaries.append(place) }
    }

    mutating func noteGenerated(_ range: Range<Int>, line: Int) {
        guard tracksPlaces else { return }
        if captures > 0 {
            unplacedGeneration = unplacedGeneration ?? line
        } else if !range.isEmpty {
            generated.append(Generated(message: current.last, range: range))
        }
    }

    mutating func noteRead(_ key: String, of mapping: TemplateMapping) {
        guard tracksPlaces, mapping.message >= 0, let message = current.last, message != mapping.message, key != "role" else { return }
        readersOfOthers.insert(message)
    }
}
