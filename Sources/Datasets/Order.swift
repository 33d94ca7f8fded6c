import LorikeetGround

/// Random numbers as a function of their arguments: no state to save, the same on every machine.
package enum StatelessRandom {
    /// What a number is for, so that one seed gives unrelated numbers.
    package enum Purpose: UInt64, Sendable {
        case order = 1, trainSubset, validationSubset, validationSplit, evaluationSubset, dropout
    }

    /// 64 random bits.
    package static func bits(_ seed: UInt64, _ purpose: Purpose, _ a: UInt64, _ b: UInt64 = 0) -> UInt64 {
        mix64(mix64(mix64(mix64(seed) ^ purpose.rawValue) ^ a) ^ b)
    }
}

/// The order in which an epoch visits `count` samples: a permutation that depends on nothing but the arguments (Fisher-Yates).
package func epochOrder(count: Int, seed: UInt64, epoch: Int, shuffle: Bool) -> [Int] {
    var order = Array(0..<max(0, count))
    if shuffle { shuffleEpoch(&order, seed, epoch) }
    return order
}

/// The samples' lengths in that order: faster than taking each by its index, which lie anywhere in memory.
package func epochLengths(_ lengths: [SampleLength], seed: UInt64, epoch: Int, shuffle: Bool) -> [SampleLength] {
    var order = lengths
    if shuffle { shuffleEpoch(&order, seed, epoch) }
    return order
}

private func shuffleEpoch<Element>(_ elements: inout [Element], _ seed: UInt64, _ epoch: Int) {
    let epoch = UInt64(bitPattern: Int64(epoch))
    elements.withUnsafeMutableBufferPointer { elements in
        for last in stride(from: elements.count - 1, to: 0, by: -1) {
            let bits = StatelessRandom.bits(seed, .order, epoch, UInt64(last))
            elements.swapAt(last, Int(bits.multipliedFullWidth(by: UInt64(last + 1)).high))
        }
    }
}

/// `wanted` of `count` indices, ascending: those with the smallest random numbers, so that a larger choice holds a smaller one.
package func randomSubset(of count: Int, wanted: Int, seed: UInt64, purpose: StatelessRandom.Purpose) -> [Int] {
    guard wanted < count else { return Array(0..<max(0, count)) }
    guard wanted > 0 else { return [] }
    let keys = (0..<count).map { StatelessRandom.bits(seed, purpose, UInt64($0)) }
    let largest = keys.sorted()[wanted - 1]
    // Of equal numbers the first ones count.
    var equal = wanted - keys.count { $0 < largest }
    return keys.indices.filter { index in
        if keys[index] == largest, equal > 0 {
            equal -= 1
            return true
        }
        return keys[index] < largest
    }
}
