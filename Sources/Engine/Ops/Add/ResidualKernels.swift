import LorikeetDevices

extension DeviceRun {
    /// A launch of residual.cu, eight numbers a thread.
    func residual(_ kernel: String, count: Int, _ scale: Float, _ addresses: (inout KernelArguments) throws -> Void) throws {
        try launch("residual", kernel, count: (count + 7) / 8) {
            try addresses(&$0)
            $0.add(count)
            $0.add(scale)
        }
    }
}

enum ResidualKernels {
    /// c = a + scale * b; c may be a.
    @inline(__always)
    static func add(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ scale: Float, into c: UnsafeMutablePointer<Float>, _ count: Int) {
        eachEight(count) {
            store8(load8(a + $0) + load8(b + $0) * scale, c + $0)
        } rest: { i, n in
            storePartly(loadPartly(a + i, n) + loadPartly(b + i, n) * scale, c + i, n)
        }
    }

    /// y = scale * x; y may be x.
    @inline(__always)
    static func scale(_ x: UnsafePointer<Float>, _ scale: Float, into y: UnsafeMutablePointer<Float>, _ count: Int) {
        eachEight(count) {
            store8(load8(x + $0) * scale, y + $0)
        } rest: { i, n in
            storePartly(loadPartly(x + i, n) * scale, y + i, n)
        }
    }
}
