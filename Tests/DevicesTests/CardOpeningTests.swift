import Foundation
import LorikeetDevices
import LorikeetGround
import StubCard
import Testing

/// Opening a card: everything that is not as it should be gets its sentence and exit code.
struct CardOpeningTests {
    /// Opens the card and expects an error with `words`.
    private func refuses(
        _ stub: StubCard, _ exit: LorikeetError.ExitClass, _ words: [String], ordinal: Int = 0, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var options = stub.options
        options.ordinal = ordinal
        do {
            _ = try CUDADevice(options)
            Issue.record("the card opened", sourceLocation: sourceLocation)
        } catch let error as LorikeetError {
            #expect(error.exit == exit, "\(error)", sourceLocation: sourceLocation)
            for word in words { #expect(error.description.contains(word), "\(error)", sourceLocation: sourceLocation) }
            #expect(!error.description.contains("\n"), "\(error)", sourceLocation: sourceLocation)
        } catch {
            Issue.record("\(error)", sourceLocation: sourceLocation)
        }
    }

    @Test func `a card opens and says what it is`() throws {
        let stub = try StubCard(["name NVIDIA H100 80GB HBM3", "capability 90", "total 85899345920"])
        let card = try CUDADevice(stub.options)
        #expect(card.properties.name == "NVIDIA H100 80GB HBM3" && card.properties.architecture == 90)
        #expect(card.properties.totalBytes == 85_899_345_920 && card.properties.driver == "CUDA 12.4")
        #expect(CUDADevice.isPresent(stub.options))
    }

    @Test func `no driver: says so, and --device cpu as the way out; auto takes the CPU`() throws {
        let stub = try StubCard(missing: ["libcuda.so.1"])
        refuses(stub, .machineFailed, ["no NVIDIA driver", "libcuda.so.1", "--device cpu"])
        #expect(!CUDADevice.isPresent(stub.options))
    }

    @Test func `a driver without a card; auto takes the CPU`() throws {
        let stub = try StubCard(["devices 0"])
        refuses(stub, .machineFailed, ["shows no card", "CUDA_ERROR_NO_DEVICE", "CUDA_VISIBLE_DEVICES", "--device cpu"])
        #expect(!CUDADevice.isPresent(stub.options))
    }

    @Test func `an old driver: the version it has and the one it takes; auto does not pass over the card`() throws {
        let stub = try StubCard(["driver_version 11040"])
        refuses(stub, .machineFailed, ["driver is too old", "CUDA 11.4", "driver 525 or newer"])
        #expect(CUDADevice.isPresent(stub.options))
    }

    @Test func `a driver whose halves differ: update`() throws {
        refuses(try StubCard(["fail cuInit 803"]), .machineFailed, ["cuInit", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "update the NVIDIA driver"])
    }

    @Test func `a P100 is too old: choose the T4s in the notebook's settings; another old card: which would do`() throws {
        refuses(
            try StubCard(["name Tesla P100-PCIE-16GB", "capability 60"]), .unusableInput,
            ["Tesla P100-PCIE-16GB", "6.0; 7.5 is needed", "\"GPU T4 x2\" in the notebook's settings", "--device cpu"])
        refuses(
            try StubCard(["name Tesla V100-SXM2-16GB", "capability 70"]), .unusableInput,
            ["Tesla V100-SXM2-16GB has compute capability 7.0; 7.5 is needed", "a card of 2018 or later", "--device cpu"])
    }

    @Test func `a card that is not there`() throws {
        refuses(try StubCard(), .unusableInput, ["no card 3", "has 1", "say cuda:0"], ordinal: 3)
        refuses(try StubCard(["devices 2"]), .unusableInput, ["no card 2", "has 2", "cuda:0 to cuda:1"], ordinal: 2)
    }

    @Test func `code for a newer card than this one is refused`() throws {
        var options = try StubCard().options
        options.architecture = 90
        #expect(throws: LorikeetError.self) { try CUDADevice(options) }
    }

    @Test(arguments: [("libnvrtc.so.12", "pip install nvidia-cuda-nvrtc-cu12"), ("libcublasLt.so.12", "pip install nvidia-cublas-cu12")])
    func `a missing library: its name and pip's`(library: String, fix: String) throws {
        refuses(try StubCard(missing: [library]), .machineFailed, [library, fix, "LORIKEET_CUDA_LIBRARIES"])
    }

    @Test func `pip's packages in a virtual environment are found`() throws {
        let stub = try StubCard()
        var options = stub.options
        options.pythons = [stub.folder + "/nothing", stub.folder + "/venv"]
        for (library, package) in [("libnvrtc.so.12", "cuda_nvrtc"), ("libcublasLt.so.12", "cublas")] {
            let folder = stub.folder + "/venv/lib/python3.12/site-packages/nvidia/\(package)/lib"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try FileManager.default.moveItem(atPath: stub.folder + "/" + library, toPath: folder + "/" + library)
        }
        #expect(try CUDADevice(options).libraries.map(\.path).allSatisfy { $0.contains("/venv/lib/python3.12/site-packages/nvidia/cu") })
    }

    /// Where notebooks, distributions, pip, conda and toolkits keep the two libraries of CUDA 12, below the system's root.
    private static let places = [
        // Kaggle and Colab: the toolkit, and torch's packages in Debian's Python.
        ("/usr/local/cuda-12.5/targets/x86_64-linux/lib", "/usr/local/cuda-12.5/targets/x86_64-linux/lib"),
        ("/usr/local/cuda/targets/x86_64-linux/lib", "/usr/local/cuda/lib64"), ("/usr/local/cuda-12.2/lib64", "/usr/local/nvidia/lib64"),
        ("/usr/local/lib/python3.12/dist-packages/nvidia/cuda_nvrtc/lib", "/usr/local/lib/python3.12/dist-packages/nvidia/cublas/lib"),
        ("/usr/local/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib", "/usr/lib/python3/dist-packages/nvidia/cublas/lib"),
        ("/opt/conda/lib", "/opt/conda/targets/x86_64-linux/lib"),
        ("/opt/conda/lib/python3.10/site-packages/nvidia/cuda_nvrtc/lib", "/opt/conda/lib/python3.10/site-packages/nvidia/cublas/lib"),
        ("/opt/venv/lib/python3.12/site-packages/nvidia/cu12/lib", "/opt/app/.venv/lib/python3.12/site-packages/nvidia/cublas/lib"),
        ("/opt/cuda/lib64", "/opt/cuda/targets/x86_64-linux/lib"),
        ("/opt/nvidia/hpc_sdk/Linux_x86_64/24.7/cuda/12.5/lib64", "/opt/nvidia/hpc_sdk/Linux_x86_64/24.7/math_libs/12.5/lib64"),
    ]

    @Test(arguments: places) func `the libraries are found where machines keep them`(compiler: String, matrices: String) throws {
        let stub = try StubCard()
        var options = stub.options
        options.libraryFolders = []
        (options.searchesSystem, options.systemRoot) = (true, stub.folder + "/root")
        func place(_ library: String, _ folder: String) throws -> String {
            let folder = options.systemRoot + folder
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try FileManager.default.moveItem(atPath: stub.folder + "/" + library, toPath: folder + "/" + library)
            // A stub reads its configuration beside itself.
            if !FileManager.default.fileExists(atPath: folder + "/stub.conf") {
                try FileManager.default.copyItem(atPath: stub.folder + "/stub.conf", toPath: folder + "/stub.conf")
            }
            return folder + "/" + library
        }
        _ = try place("libcuda.so.1", "/usr/lib64-nvidia")
        let paths = [try place("libnvrtc.so.12", compiler), try place("libcublasLt.so.12", matrices)]
        #expect(try CUDADevice(options).libraries.map(\.path) == paths)
    }

    @Test(arguments: ["/usr/local/nvidia/lib64", "/usr/lib64-nvidia", "/usr/lib/wsl/lib"]) func `the driver is found in containers`(folder: String) throws {
        let stub = try StubCard()
        var options = stub.options
        #expect(CUDADevice.isPresent(options))
        options.libraryFolders = []
        (options.searchesSystem, options.systemRoot) = (true, stub.folder + "/root")
        #expect(!CUDADevice.isPresent(options))
        try FileManager.default.createDirectory(atPath: options.systemRoot + folder, withIntermediateDirectories: true)
        for name in ["libcuda.so.1", "stub.conf"] {
            try FileManager.default.copyItem(atPath: stub.folder + "/" + name, toPath: options.systemRoot + folder + "/" + name)
        }
        #expect(CUDADevice.isPresent(options))
    }

    @Test func `a library that is there but is not one: the loader's words`() throws {
        let stub = try StubCard(missing: ["libnvrtc.so.12"])
        try Data("not a library".utf8).write(to: URL(fileURLWithPath: stub.folder + "/libnvrtc.so.12"))
        refuses(stub, .machineFailed, ["libnvrtc.so.12 is not found (" + stub.folder + "/libnvrtc.so.12: ", "pip install"])
    }

    @Test func `a driver of CUDA 13 takes libraries of 13, and of 12 where there are none`() throws {
        let stub = try StubCard(["driver_version 13000"])
        #expect(try CUDADevice(stub.options).libraries.map(\.path) == [stub.folder + "/libnvrtc.so.12", stub.folder + "/libcublasLt.so.12"])
        try FileManager.default.copyItem(atPath: stub.folder + "/libnvrtc.so.12", toPath: stub.folder + "/libnvrtc.so.13")
        #expect(try CUDADevice(stub.options).libraries.map(\.path) == [stub.folder + "/libnvrtc.so.13", stub.folder + "/libcublasLt.so.12"])
        let bare = try StubCard(["driver_version 13000"], missing: ["libnvrtc.so.12"])
        refuses(bare, .machineFailed, ["libnvrtc.so.13", "pip install nvidia-cuda-nvrtc,"])
    }

    @Test func `a card that another process fills: how much is free and who holds the rest`() throws {
        let me = ProcessInfo.processInfo.processIdentifier
        let parent = getppid()
        let name = try String(contentsOfFile: "/proc/\(parent)/comm", encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let stub = try StubCard(["free 20971520", "process \(parent) 12884901888", "process 4194999 3221225472", "process \(me) 1"])
        refuses(
            stub, .doesNotFit,
            [
                "Tesla T4 has no room for 32.0 MiB: 20.0 MiB of 15.0 GiB are free", "\(name) (pid \(parent)) holds 12.0 GiB",
                "process 4194999 holds 3.0 GiB", "another card",
            ])
        // Nobody is named in many containers.
        refuses(try StubCard(["free 20971520"]), .doesNotFit, ["20.0 MiB of 15.0 GiB are free", "about 15.0 GiB", "does not name"])
        refuses(try StubCard(["free 20971520"], missing: ["libnvidia-ml.so.1"]), .doesNotFit, ["20.0 MiB of 15.0 GiB are free", "does not name"])
        refuses(
            try StubCard(["fail cuDevicePrimaryCtxRetain 2", "process 4194999 16106127360"]), .doesNotFit, ["a context", "process 4194999 holds 15.0 GiB"])
    }

    @Test func `a card that is only too small for this run: no one else is blamed`() throws {
        let stub = try StubCard()
        let card = try CUDADevice(stub.options)
        do {
            _ = try card.allocate(bytes: 20 << 30)
            Issue.record("20 GiB on a card of 15")
        } catch let error as LorikeetError {
            #expect(error.exit == .doesNotFit)
            #expect(error.description == "--device: Tesla T4 has no room for 20.0 GiB: 15.0 GiB of 15.0 GiB are free; lower --gpu-memory or max_length")
        }
    }

    @Test func `NVML's readings are the card's by its bus, and the card works without them`() throws {
        let stub = try StubCard(["devices 2", "free 5368709120", "process 77 1073741824"])
        var options = stub.options
        options.ordinal = 1
        let readings = try #require(try CUDADevice(options).readings())
        #expect(stub.calls("nvmlDeviceGetHandleByPciBusId_v2") == ["nvmlDeviceGetHandleByPciBusId_v2 0000:05:00.0"])
        #expect(readings.driver == "550.54.15" && readings.totalBytes == 16_106_127_360 && readings.usedBytes == 10_737_418_240)
        #expect(readings.processes.map(\.pid) == [77] && readings.processes.map(\.bytes) == [1_073_741_824])
        #expect(readings.celsius == 41 && readings.watts == 27.5 && readings.wattsLimit == 70)
        #expect(readings.megahertz == 585 && readings.megahertzLimit == 1590 && readings.utilisation == 93)
        #expect(try CUDADevice(try StubCard(missing: ["libnvidia-ml.so.1"]).options).readings() == nil)
        // A value that the card does not have is not a zero.
        #expect(try CUDADevice(try StubCard(["fail nvmlDeviceGetPowerUsage 3"]).options).readings()?.watts == nil)
    }
}
