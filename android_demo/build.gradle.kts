plugins {
    id("com.android.application") version "8.7.3" apply false
    id("com.android.library") version "8.7.3" apply false
    id("org.jetbrains.kotlin.android") version "2.2.0" apply false
    id("org.jetbrains.kotlin.jvm") version "2.2.0" apply false
    id("com.google.protobuf") version "0.9.5" apply false
}

// Beside Maven's folders, which `make clean` removes.
subprojects {
    layout.buildDirectory = rootProject.layout.projectDirectory.dir("build/gradle/$name")
}
