"""Builds the APK: Maven's and npm's parts, our Kotlin, Android's dexer and resource compiler; no SDK, no Gradle."""
