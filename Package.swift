// swift-tools-version: 6.1
// Lorikeet: one Swift package, one target a room. docs/layout.md is the tour; a test holds the imports to it.
import PackageDescription

/// The hot room may use AVX2 and FMA (x86-64-v3); the command line checks the processor before it is entered.
let vectorised: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]

/// Tests that compute little themselves are not optimised: that halves the time to compile them.
let plain: [SwiftSetting] = [.unsafeFlags(["-Onone"])]

/// A room: folder `Sources/NAME`, module `LorikeetNAME`, tests in `Tests/NAMETests`.
func room(_ name: String, _ rooms: [String] = [], outside: [Target.Dependency] = [], swift: [SwiftSetting] = []) -> Target {
    .target(
        name: "Lorikeet\(name)", dependencies: rooms.map { .target(name: "Lorikeet\($0)") } + outside,
        path: "Sources/\(name)", swiftSettings: swift)
}

func tests(
    _ name: String, _ rooms: [String], with more: [Target.Dependency] = [], resources: [Resource] = [], swift: [SwiftSetting] = plain
) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: rooms.map { .target(name: "Lorikeet\($0)") } + ["FailingFiles"] + more,
        path: "Tests/\(name)Tests", resources: resources, swiftSettings: swift)
}

let below: (String) -> [String] = { name in
    let order = [
        "Ground", "JSON", "Hub", "Devices", "ModelFiles", "Tokenizers", "Reporting", "Recipe", "Datasets", "Engine", "Planning", "Training", "Delivery",
        "Checks",
    ]
    return Array(order.prefix(while: { $0 != name }))
}

let package = Package(
    name: "lorikeet",
    products: [
        .library(name: "Lorikeet", targets: ["Lorikeet"]),
        .executable(name: "lorikeet", targets: ["CLI"]),
        // For the tests, which open copies of it as NVIDIA's libraries.
        .library(name: "StubDriver", type: .dynamic, targets: ["StubDriver"]),
        // For the tests, which preload it into the program.
        .library(name: "FailingCalls", type: .dynamic, targets: ["FailingCalls"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C and C++ behind C headers.
        .target(name: "CJSON", path: "Sources/CJSON", cxxSettings: [.define("RAPIDJSON_HAS_STDSTRING", to: "0")]),
        .target(name: "CThreads", path: "Sources/CThreads"),
        .target(name: "CHub", path: "Sources/CHub"),
        .target(
            name: "CCompression", path: "Sources/CCompression",
            linkerSettings: [.linkedLibrary(":libz.a"), .linkedLibrary(":libzstd.a")]),
        .target(name: "CVector", path: "Sources/CVector"),
        // The GPU's kernels as text (#embed), one source an op; compiled at run time by NVRTC.
        .target(name: "CUDAKernels", path: "Sources/CUDAKernels", exclude: ["kernels"], publicHeadersPath: "include"),
        // The style sheet and the script of report.html as text (#embed).
        .target(name: "CReport", path: "Sources/CReport", exclude: ["page.css", "page.js"]),
        .target(
            name: "COpenBLAS", path: "Sources/COpenBLAS",
            linkerSettings: [.linkedLibrary(":libopenblas.a"), .linkedLibrary("m")]),

        // PCRE2's static library, and Unicode's decompositions and classes as text (#embed).
        .target(name: "CText", path: "Sources/CText", exclude: ["decompositions.txt", "classes.txt"], linkerSettings: [.linkedLibrary(":libpcre2-8.a")]),

        // The rooms, in the order in which data passes through them.
        room("Ground", outside: ["CThreads"]),
        room("JSON", ["Ground"], outside: ["CJSON"]),
        room("Hub", ["Ground", "JSON"], outside: ["CHub"]),
        room("Devices", ["Ground"], outside: ["CThreads", "COpenBLAS", "CUDAKernels", "CCompression"]),
        room("ModelFiles", ["Ground", "JSON"]),
        room("Tokenizers", ["Ground", "JSON", "ModelFiles"], outside: ["CText"]),
        room("Reporting", ["Ground", "JSON", "Hub"], outside: ["CReport"]),
        room("Recipe", ["Ground", "JSON"], outside: [.product(name: "Yams", package: "Yams")]),
        room("Datasets", ["Ground", "JSON", "Devices", "Tokenizers", "Recipe"], outside: ["CCompression"]),
        room("Engine", ["Ground", "JSON", "Devices", "ModelFiles"], outside: ["CVector"], swift: vectorised),
        room("Planning", below("Planning")),
        room("Training", below("Training")),
        room("Delivery", below("Delivery")),
        room("Checks", ["Ground", "JSON", "Devices", "ModelFiles", "Tokenizers", "Engine"]),
        .target(
            name: "Lorikeet",
            dependencies: (below("")).map { .target(name: "Lorikeet\($0)") }, path: "Sources/Lorikeet"),
        .executableTarget(
            name: "CLI",
            dependencies: ["Lorikeet", .product(name: "ArgumentParser", package: "swift-argument-parser")]
                + below("").map { .target(name: "Lorikeet\($0)") },
            path: "Sources/CLI"),

        // Its tests make and compare long inputs byte by byte.
        tests("Ground", ["Ground"], swift: []),
        tests("JSON", ["Ground", "JSON"]),
        .testTarget(
            name: "HubTests", dependencies: ["HubServer", "FailingFiles"] + ["Ground", "JSON", "Hub"].map { .target(name: "Lorikeet\($0)") },
            path: "Tests/HubTests", swiftSettings: plain),
        .testTarget(
            name: "DevicesTests", dependencies: ["StubCard", "CCompression", "COpenBLAS", .target(name: "LorikeetGround"), .target(name: "LorikeetDevices")],
            path: "Tests/DevicesTests"),
        tests("ModelFiles", ["Ground", "JSON", "ModelFiles"]),
        tests("Tokenizers", ["Ground", "JSON", "ModelFiles", "Tokenizers"], resources: [.copy("Fixtures")]),
        tests("Reporting", ["Ground", "JSON", "Reporting"]),
        tests("Recipe", ["Ground", "JSON", "Recipe"]),
        tests("Datasets", ["Ground", "JSON", "Devices", "ModelFiles", "Tokenizers", "Recipe", "Datasets"], with: ["MemoryFiles"]),
        // Its references are loops in double precision.
        tests("Engine", ["Ground", "JSON", "Devices", "ModelFiles", "Engine"], resources: [.copy("Fixtures")], swift: []),
        tests("Training", below(""), with: ["SimulatedTraining"]),
        tests("Delivery", below("")),
        .testTarget(
            name: "ChecksTests",
            dependencies: ["EmulatedDevice", "StubCard"]
                + ["Ground", "JSON", "Devices", "ModelFiles", "Tokenizers", "Engine", "Checks"].map { .target(name: "Lorikeet\($0)") },
            path: "Tests/ChecksTests"),
        // The GPU's kernels built for the CPU, and a card made of them.
        .target(name: "KernelEmulator", path: "Tests/KernelEmulator", cxxSettings: [.headerSearchPath("."), .unsafeFlags(["-mf16c"])]),
        .target(
            name: "EmulatedDevice", dependencies: ["KernelEmulator", .target(name: "LorikeetDevices"), .target(name: "LorikeetGround")],
            path: "Tests/EmulatedDevice"),
        // NVIDIA's libraries as far as the card's host code calls them: they record calls and fail on demand. And a folder of them.
        .target(name: "StubDriver", path: "Tests/StubDriver"),
        .target(name: "StubCard", dependencies: [.target(name: "LorikeetDevices")], path: "Tests/StubCard"),
        // Calls of the system that change a disk, which fail on demand.
        .target(name: "FailingCalls", path: "Tests/FailingCalls"),
        // A hub on this machine that fails on demand.
        .target(name: "HubServer", dependencies: ["Hub", "JSON"].map { .target(name: "Lorikeet\($0)") }, path: "Tests/HubServer"),
        // A device and a clock for the training loop that are told what to do: hours of training in milliseconds.
        .target(
            name: "SimulatedTraining",
            dependencies: ["Ground", "Datasets", "Engine", "Training"].map { .target(name: "Lorikeet\($0)") }, path: "Tests/SimulatedTraining"),
        // A disk that fails on demand, for the tests of every room that writes.
        .target(name: "FailingFiles", dependencies: [.target(name: "LorikeetGround")], path: "Tests/FailingFiles"),
        // Files in memory, for tests of readers and for fuzzing.
        .target(name: "MemoryFiles", dependencies: [.target(name: "LorikeetGround")], path: "Tests/MemoryFiles"),
        .testTarget(
            name: "LorikeetTests",
            dependencies: ["Lorikeet", "EmulatedDevice", "FailingFiles", "HubServer", "SimulatedTraining", "StubCard"]
                + below("").map { .target(name: "Lorikeet\($0)") },
            path: "Tests/LorikeetTests", swiftSettings: plain),
        .testTarget(
            name: "CLITests", dependencies: ["CLI", "HubServer", "StubCard", .target(name: "LorikeetGround"), .target(name: "LorikeetJSON")],
            path: "Tests/CLITests", swiftSettings: plain),
        tests("Layout", ["Ground"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c2x,
    cxxLanguageStandard: .cxx17
)

// The fuzzing targets of Scripts/fuzz.sh, which sets the variable; no other build sees them.
if Context.environment["LORIKEET_FUZZ"] != nil {
    package.targets += [
        .target(name: "FuzzDriver", path: "Fuzz/Driver"),
        .executableTarget(
            name: "Fuzz", dependencies: ["FuzzDriver", "Lorikeet", "MemoryFiles"] + below("").map { .target(name: "Lorikeet\($0)") },
            path: "Fuzz/Targets"),
    ]
}
