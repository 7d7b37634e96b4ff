// swift-tools-version:5.9
// What executes a package's program on Apple's systems. A package of its own, so that the rest builds and is tested without
// ExecuTorch. Never resolved or run where it was written: docs/ios.md says what of it was checked.
import PackageDescription

let package = Package(
    name: "EdgeExpertsEngine",
    platforms: [.iOS(.v17), .macOS(.v12)],
    products: [.library(name: "EdgeEngine", targets: ["EdgeEngine"])],
    dependencies: [
        .package(name: "EdgeExperts", path: ".."),
        .package(url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-1.4.1"),
    ],
    targets: [
        .target(
            name: "EdgeEngine",
            dependencies: [
                .product(name: "EdgeCore", package: "EdgeExperts"),
                .product(name: "executorch", package: "executorch"),
            ],
            path: "Sources/Engine")
    ]
)
