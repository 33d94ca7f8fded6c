import LorikeetDevices

/// The optimiser's numbers; names and meanings are those of torch.optim.AdamW.
package struct AdamWSettings: Sendable, Equatable {
    package var beta1: Double
    package var beta2: Double
    package var epsilon: Double
    package var weightDecay: Double
    /// Gradients are scaled down to this global L2 norm when theirs is larger; nil: never.
    package var maxGradNorm: Double?

    package init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0, maxGradNorm: Double? = 1) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.maxGradNorm = maxGradNorm
    }
}

/// One AdamW step over the flat buffers (Loshchilov & Hutter 2017, arXiv:1711.05101), after clipping the gradients' global norm.
///
///     p -= lr * weightDecay * p;   m = b1 m + (1-b1) g;   v = b2 v + (1-b2) g²
///     p -= lr / (1-b1^step) * m / (sqrt(v) / sqrt(1-b2^step) + epsilon)
///
/// Clipping follows torch: g *= min(1, maxGradNorm / (norm + 1e-6)).
/// - Parameter step: 1 for the first step.
/// - Returns: the gradients' norm before clipping.
package func adamWStep(_ adapters: AdapterSet, learningRate: Double, settings: AdamWSettings, step: Int, cpu: CPU) -> Double {
    let count = adapters.elementCount
    let gradients = adapters.gradients.pointer(as: Float.self)
    let norm = GradientNormKernels.sumOfSquares(gradients, count: count, cpu: cpu).squareRoot()
    var clip = 1.0
    if let limit = settings.maxGradNorm { clip = min(1, limit / (norm + 1e-6)) }
    AdamWKernels.step(
        values: adapters.values.pointer(as: Float.self), gradients: gradients, firstMoment: adapters.firstMoment.pointer(as: Float.self),
        secondMoment: adapters.secondMoment.pointer(as: Float.self), count: count, learningRate: learningRate, beta1: settings.beta1,
        beta2: settings.beta2, epsilon: settings.epsilon, weightDecay: settings.weightDecay, gradientScale: clip, step: step, cpu: cpu)
    return norm
}
