// swift-tools-version: 6.1
// A program that uses Lorikeet as a library: `swift run -c release finetune MODEL DATA OUTPUT` in this folder.
// Outside of the repository the dependency is .package(url:), with the repository's address, and a version.
import PackageDescription

let package = Package(
    name: "finetune",
    dependencies: [.package(name: "lorikeet", path: "../..")],
    targets: [.executableTarget(name: "finetune", dependencies: [.product(name: "Lorikeet", package: "lorikeet")])],
    swiftLanguageModes: [.v6]
)
