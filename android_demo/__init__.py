"""The Android app: Kotlin sources, what builds an APK of them, and what runs Android's own runtime on a desktop."""
