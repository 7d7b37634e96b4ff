plugins {
    `java-library`
    id("org.jetbrains.kotlin.jvm")
    id("com.google.protobuf")
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}

kotlin {
    explicitApi()
    compilerOptions {
        jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_1_8
    }
}

sourceSets {
    main {
        proto { srcDir(rootProject.layout.projectDirectory.dir("../edge_runtime/wire")) }
    }
}

protobuf {
    protoc { artifact = "com.google.protobuf:protoc:4.36.2" }
    generateProtoTasks {
        all().configureEach {
            builtins { named("java") { option("lite") } }
        }
    }
}

dependencies {
    api("com.google.protobuf:protobuf-javalite:4.36.2")
    implementation("com.google.crypto.tink:tink-android:1.20.0") { isTransitive = false }
}
