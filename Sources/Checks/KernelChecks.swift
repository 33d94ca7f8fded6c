import LorikeetDevices
import LorikeetEngine

/// Every kernel and matrix product of a card against the processor's ops, on odd sizes too: what `doctor --kernels` prints.
package struct KernelChecks {
    let device: any Accelerator
    let cpu: CPU

    package init(device: any Accelerator, cpu: CPU) { (self.device, self.cpu) = (device, cpu) }

    /// The types of activations that the card has.
    package var elements: [DeviceElement] { device.properties.architecture >= 80 ? [.f32, .f16, .bf16] : [.f32, .f16] }

    /// A deviation and what it belongs to.
    package struct Result: Sendable {
        package let kernel: String
        package let element: DeviceElement
        package let deviation: Deviation
    }

    /// A case that cannot run, for want of a kernel or of an algorithm for a product, counts as one that failed, and so does one that compares
    /// nothing.
    ///
    /// - Parameters:
    ///   - all: the cases; those that the type has not are left out.
    ///   - large: run the large ones too.
    ///   - report: told each result as it comes.
    /// - Returns: the kernels that the cases launched (see `notTested`).
    /// - Throws: exit 4 when the card is lost.
    @discardableResult
    package func run(
        _ element: DeviceElement, among all: [KernelCase] = KernelCase.all, large: Bool = true, report: (Result) -> Void
    ) throws -> Set<String> {
        let list = LaunchList(running: device)
        let comparison = KernelComparison(device: list, cpu: cpu, element: element)
        let cases = all.filter { $0.elements.contains(element) && (large || !$0.large) }
        prepare(cases.filter { !$0.large }, element)
        for item in cases {
            var deviations: [Deviation]
            do { deviations = try item.run(comparison) } catch {
                try device.synchronize()
                deviations = [Deviation(name: "\(error)", measured: .infinity, tolerance: 0)]
            }
            if deviations.isEmpty { deviations = [Deviation(name: "nothing was compared", measured: .infinity, tolerance: 0)] }
            for deviation in deviations {
                let name = "\(item.name) \(element.suffix), \(item.detail): \(deviation.name)"
                report(
                    Result(
                        kernel: item.name, element: element,
                        deviation: Deviation(name: name, measured: deviation.measured, tolerance: deviation.tolerance)))
            }
        }
        return list.kernels
    }

    /// The kernels that exist and that no case launched.
    ///
    /// - Parameters:
    ///   - launched: of all types that the card has; some kernels exist for one of them alone.
    ///   - kernels: of the program's sources.
    package static func notTested(launched: Set<String>, kernels: [(source: String, name: String)] = KernelSources.kernels) -> [CheckReport.NotTested] {
        kernels.filter { !launched.contains($0.name) }.map { .init($0.name, "no case launches this kernel of \($0.source)") }
    }

    /// Has the kernels of small cases compiled all at once: dozens of sources would take a minute one after the other. What only a
    /// large case needs is compiled when it comes. Nothing is made of the numbers here, which no kernel wrote.
    private func prepare(_ cases: [KernelCase], _ element: DeviceElement) {
        let list = LaunchList(device.properties)
        let comparison = KernelComparison(device: list, cpu: cpu, element: element)
        for item in cases { _ = try? item.run(comparison) }
        device.prepare(list.modules)
    }

    /// Of each kernel and type the result that comes nearest to its limit or is farthest beyond it.
    package static func worst(_ results: [Result]) -> [Result] {
        func share(_ result: Result) -> Double {
            let d = result.deviation
            // What passes no limit is beyond all others; a comparison with NaN would be false.
            guard d.measured.isFinite else { return .infinity }
            return d.tolerance > 0 ? d.measured / d.tolerance : d.measured == 0 ? 0 : .infinity
        }
        var (order, found): ([String], [String: Result]) = ([], [:])
        for result in results {
            let key = result.kernel + " " + result.element.suffix
            if found[key] == nil { order.append(key) }
            if let best = found[key], share(best) >= share(result) { continue }
            found[key] = result
        }
        return order.compactMap { found[$0] }
    }
}
