plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.edgeexperts.app"
    compileSdk = 34
    defaultConfig {
        applicationId = "org.edgeexperts.app"
        minSdk = 26
        targetSdk = 34
        versionCode = 1
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    // The tests are Maven's (`make kotlin-test`): they draw with Robolectric and ask the Python side.
    sourceSets { getByName("test").kotlin.setSrcDirs(emptyList<String>()) }
}

kotlin {
    compilerOptions {
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_1_8
    }
}

dependencies {
    implementation(project(":engine"))
    implementation(project(":background"))
    implementation("org.pytorch:executorch-android:1.4.1")
}
