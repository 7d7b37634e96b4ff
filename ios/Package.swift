// swift-tools-version:5.9
// The device's half of the contract, without anything from outside. What executes a package's program is a package of its
// own, engine/, since it brings ExecuTorch along. docs/ios.md.
import PackageDescription

let package = Package(
    name: "EdgeExperts",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [
        .library(name: "EdgeWire", targets: ["EdgeWire"]),
        .library(name: "EdgeCore", targets: ["EdgeCore"]),
    ],
    targets: [
        .target(name: "EdgeWire", path: "Sources/Wire"),
        .target(name: "EdgeCore", dependencies: ["EdgeWire"], path: "Sources/Core"),
        .testTarget(name: "EdgeTests", dependencies: ["EdgeWire", "EdgeCore"]),
    ]
)
