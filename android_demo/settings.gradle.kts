// For Android Studio: the same sources as Maven's modules. See docs/android.md.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "edge-experts"
include(":wire", ":core", ":signatures", ":engine", ":background", ":app")
