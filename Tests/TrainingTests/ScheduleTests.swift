import Foundation
import LorikeetDatasets
import LorikeetJSON
import Testing

@testable import LorikeetTraining

struct LearningRateTests {
    static let reference = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Reference")

    @Test func `the linear schedule is transformers' to the last digit`() throws {
        let path = Self.reference.appending(path: "smollm2/demo_curve.json").path
        let rates = try JSON.parse(String(contentsOfFile: path, encoding: .utf8), source: path)["learning_rate"]?.array?.compactMap(\.double) ?? []
        var settings = TrainingSettings()
        settings.learningRate = 2e-3
        settings.warmupSteps = 5
        #expect(rates.count == 59)
        for (step, rate) in rates.enumerated() { #expect(settings.learningRate(atStep: step, of: StepCourse(planned: 59)) == rate) }
    }

    @Test func `cosine, constant and constant with warm-up follow their formulas`() {
        #expect(ScheduleKind.cosine.factor(at: 0, warmup: 0, total: 10) == 1)
        #expect(abs(ScheduleKind.cosine.factor(at: 5, warmup: 0, total: 10) - 0.5) < 1e-15)
        #expect(abs(ScheduleKind.cosine.factor(at: 10, warmup: 0, total: 10)) < 1e-15)
        #expect(ScheduleKind.cosine.factor(at: 2, warmup: 4, total: 10) == 0.5)
        #expect(ScheduleKind.constant.factor(at: 0, warmup: 4, total: 10) == 1)
        #expect(ScheduleKind.constantWithWarmup.factor(at: 1, warmup: 4, total: 10) == 0.25)
        #expect(ScheduleKind.constantWithWarmup.factor(at: 9, warmup: 4, total: 10) == 1)
    }

    @Test func `a warm-up share counts from all steps, rounded up`() {
        var settings = TrainingSettings()
        settings.learningRate = 1
        settings.warmupRatio = 0.1
        #expect(settings.learningRate(atStep: 1, of: StepCourse(planned: 95)) == 0.1)
        settings.warmupSteps = 2
        #expect(settings.learningRate(atStep: 1, of: StepCourse(planned: 95)) == 0.5)
    }

    @Test(arguments: [(16, 1.0, -1, 1), (17, 1.0, -1, 2), (17, 2.0, -1, 4), (100, 0.5, -1, 4), (100, 3.0, 5, 5)])
    func `steps are counted as transformers counts them`(samples: Int, epochs: Double, maxSteps: Int, steps: Int) {
        var settings = TrainingSettings()
        settings.numTrainEpochs = epochs
        settings.maxSteps = maxSteps
        #expect(settings.totalSteps(samples: samples) == steps)
    }

    @Test func `an epoch visits every sample once, its last step takes what is left`() {
        var settings = TrainingSettings()
        settings.perDeviceTrainBatchSize = 3
        settings.gradientAccumulationSteps = 2
        let sampler = StepSampler(settings: settings, count: 20)
        for epoch in 0..<2 {
            let steps = (0..<4).map { sampler.samples(ofStep: epoch * 4 + $0) }
            #expect(steps.map(\.indices.count) == [6, 6, 6, 2] && steps.allSatisfy { $0.epoch == epoch })
            #expect(steps.flatMap(\.indices).sorted() == Array(0..<20))
            // A plan takes the lengths in the same order.
            for shuffle in [true, false] {
                settings.shuffle = shuffle
                let sampler = StepSampler(settings: settings, count: 20)
                let lengths = StepSampler.lengths((0..<20).map { SampleLength(tokens: $0, trained: 0) }, ofEpoch: epoch, settings)
                #expect(lengths.map(\.tokens) == (0..<4).flatMap { sampler.samples(ofStep: epoch * 4 + $0).indices })
            }
            settings.shuffle = true
        }
        #expect(sampler.samples(ofStep: 0).indices != sampler.samples(ofStep: 4).indices)
        #expect(sampler.samples(ofStep: 2).indices == StepSampler(settings: settings, count: 20).samples(ofStep: 2).indices)
    }
}
