package org.edgeexperts.wire

import java.io.File

/** The repository: what is shared is read where it is. */
val repository: File = File(checkNotNull(System.getProperty("repository.root")) { "run the tests with Maven" })

/** Where the shared vectors are; their format: edge_runtime/wire/vectors/README.md. */
val casesFolder: File = File(repository, "edge_runtime/wire/vectors/cases")

private val KEYS = setOf("kind", "expect", "comment", "context", "meaning")

/** One decision of the shared vectors. */
class Case(
    val name: String,
    val kind: String,
    val data: ByteArray,
    val expect: String,
    val context: Map<*, *>,
    val meaning: Map<*, *>?,
) {
    companion object {
        /** Returns every case under [folder]; a key that is not known here fails. */
        fun readAll(folder: File): List<Case> =
            folder.walkTopDown().filter { it.extension == "json" }.sorted().map { read(it, folder) }.toList()

        private fun read(path: File, folder: File): Case {
            val tree = parseJson(path.readBytes(), path.name) as Map<*, *>
            val unknown = tree.keys - KEYS
            require(unknown.isEmpty()) { "${path.name} has unknown keys $unknown" }
            val name = path.relativeTo(folder).path.removeSuffix(".json")
            val data = File(folder, "$name.bin").readBytes()
            val context = tree["context"] as Map<*, *>? ?: emptyMap<String, Any?>()
            return Case(
                name, tree["kind"] as String, data, tree["expect"] as String, context, tree["meaning"] as Map<*, *>?,
            )
        }
    }
}

/** Returns whether two JSON trees mean the same; numbers are compared as numbers, whatever way they are written. */
fun same(left: Any?, right: Any?): Boolean = when {
    left is Map<*, *> && right is Map<*, *> ->
        left.keys == right.keys && left.all { (key, value) -> same(value, right[key]) }
    left is List<*> && right is List<*> ->
        left.size == right.size && left.indices.all { same(left[it], right[it]) }
    left is Long && right is Long -> left == right
    // 0.0 equals -0.0 here, as in Python; no vector means NaN.
    left is Number && right is Number -> left.toDouble() - right.toDouble() == 0.0
    else -> left == right
}
