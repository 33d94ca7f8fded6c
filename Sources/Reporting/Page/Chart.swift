import LorikeetGround
import LorikeetJSON

/// A curve of a chart.
struct Series: Sendable {
    enum Style: String, Sendable { case line, dots, dashed }

    var name: String
    /// Index of a colour of the style sheet.
    var color: Int
    var style = Style.line
    /// By ascending x.
    var points: [Point]

    /// The curve as the page's script reads it, with six digits; values that are not finite are null.
    func json(buckets: Int) -> String {
        let shown = points.downsampled(buckets: buckets)
        let x = shown.map { Figures.compact($0.x, digits: 6) }.joined(separator: ",")
        let y = shown.map { Figures.compact($0.y, digits: 6) }.joined(separator: ",")
        return #"{"name":\#(JSON.string(name).serialized()),"color":\#(color),"style":"\#(style.rawValue)","x":[\#(x)],"y":[\#(y)]}"#
    }
}

/// A chart of the page.
struct Chart: Sendable {
    enum Axis: String, Sendable { case step, minutes }
    /// How values are written.
    enum Format: String, Sendable { case number, percent, whole, bytes }

    var id: String
    var title: String
    var axis = Axis.step
    var format = Format.number
    /// Takes the page's whole width.
    var wide = false
    /// Begins with a logarithmic axis; a button switches where `canBeLog`.
    var log = false
    var canBeLog = false
    /// Curves are shown smoothed, as the page's slider says.
    var smooth = false
    /// The axis begins at 0.
    var fromZero = false
    var series: [Series]
    /// Steps that are marked at the top, with the reason.
    var marks: [(x: Int, text: String)] = []

    /// Marks that are shown.
    private static let mostMarks = 200

    func json(buckets: Int) -> String {
        let marks = marks.prefix(Self.mostMarks).map { #"{"x":\#($0.x),"text":\#(JSON.string($0.text).serialized())}"# }.joined(separator: ",")
        let title = JSON.string(title).serialized()
        return
            #"{"id":"\#(id)","title":\#(title),"x":"\#(axis.rawValue)","format":"\#(format.rawValue)","log":\#(log),"smooth":\#(smooth),"zero":\#(fromZero),"#
            + #""series":[\#(series.map { $0.json(buckets: buckets) }.joined(separator: ","))],"marks":[\#(marks)]}"#
    }

    private func text(_ value: Double) -> String {
        switch format {
        case .number, .whole: Figures.number(value)
        case .percent: Figures.percent(value)
        case .bytes: value == 0 ? "0" : Figures.bytes(value)
        }
    }

    /// The chart's place, with its key numbers as text: the script draws the rest.
    var figure: HTML {
        let figures = series.compactMap { series -> HTML? in
            let finite = series.points.filter(\.y.isFinite)
            guard let last = finite.last, let low = finite.map(\.y).min(), let high = finite.map(\.y).max() else { return nil }
            let name = self.series.count > 1 ? series.name + ": " : ""
            guard low < high else { return "<span>\(name)\(text(last.y))</span>" }
            return "<span>\(name)last \(text(last.y)), lowest \(text(low)), highest \(text(high))</span>"
        }
        let button: HTML = canBeLog ? "<button type=\"button\" class=\"log\">log</button>" : ""
        let legend: HTML = series.count > 1 ? "<div class=\"legend\"></div>" : ""
        let separated = HTML.trusted(figures.map(\.text).joined(separator: " &middot; "))
        return """
            <figure class="chart\(wide ? " wide" as HTML : "")" id="chart-\(id)"><figcaption><b>\(title)</b>\(button)</figcaption>
            <div class="figures">\(separated)</div>\(legend)<div class="plot"></div></figure>

            """
    }
}
