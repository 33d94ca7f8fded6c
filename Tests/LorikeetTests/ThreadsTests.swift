import LorikeetDevices
import LorikeetRecipe
import Testing

@testable import Lorikeet

/// The number of threads that a user asks for.
struct ThreadsTests {
    @Test func `a request opens as many threads as the recipe says, and all cores without a number`() throws {
        let recipe = try Recipe.resolve(file: nil, options: [("model", "m"), ("data", "d"), ("threads", "3")]).recipe
        #expect(DeviceRequest(recipe).processor.threads == 3)
        #expect(try DeviceRequest(device: "cpu", threads: 5).open().cpu.threads == 5)
        #expect(DeviceRequest(device: "cpu").processor.threads == Machine.coreCount())
    }
}
