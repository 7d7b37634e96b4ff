package org.edgeexperts.wire

import java.io.ByteArrayOutputStream
import java.io.File

/** The repository: what is shared is read where it is. */
val repository: File = File(checkNotNull(System.getProperty("repository.root")) { "run the tests with Maven" })

/** Where the shared vectors are; their format: edge_runtime/wire/vectors/README.md. */
val casesFolder: File = File(repository, "edge_runtime/wire/vectors/cases")

private val NEEDED = setOf("name", "expect", "comment", "bytes")

private val KEYS = NEEDED + setOf("context", "meaning")

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
        fun readAll(folder: File = casesFolder): List<Case> =
            checkNotNull(folder.listFiles()) { "$folder is no folder" }.filter { it.extension == "json" }.sorted()
                .flatMap(::readKind)

        /** Returns the bytes of the case [name] of [kind]. */
        fun bytes(kind: String, name: String): ByteArray =
            readKind(File(casesFolder, "$kind.json")).single { it.name == "$kind/$name" }.data

        private fun readKind(path: File): List<Case> {
            val kind = path.nameWithoutExtension
            val trees = (parseJson(path.readBytes(), path.name) as List<*>).map { expanded(it) as Map<*, *> }
            for (tree in trees) {
                require(KEYS.containsAll(tree.keys) && tree.keys.containsAll(NEEDED)) {
                    "${path.name}: a case has unknown keys, or lacks some: ${tree.keys}"
                }
            }
            val pieces = trees.associate { it["name"] as String to it["bytes"] as List<*> }
            require(pieces.size == trees.size) { "${path.name}: two cases have one name" }
            return trees.map { tree ->
                Case(
                    name = "$kind/${tree["name"]}",
                    kind = kind,
                    data = bytesOf(tree["name"] as String, pieces),
                    expect = tree["expect"] as String,
                    context = tree["context"] as Map<*, *>? ?: emptyMap<String, Any?>(),
                    meaning = tree["meaning"] as Map<*, *>?,
                )
            }
        }
    }
}

/** Returns [tree] with each `{"repeat": VALUE, "times": N}` as VALUE, a text or a list, N times. */
private fun expanded(tree: Any?): Any? = when {
    tree is Map<*, *> && tree.keys == setOf("repeat", "times") -> {
        val times = (tree["times"] as Long).toInt()
        when (val value = expanded(tree["repeat"])) {
            is String -> value.repeat(times)
            is List<*> -> List(times) { value }.flatten()
            else -> throw IllegalArgumentException("neither text nor list is repeated: $value")
        }
    }
    tree is Map<*, *> -> tree.mapValues { expanded(it.value) }
    tree is List<*> -> tree.map(::expanded)
    else -> tree
}

/** Returns the bytes of the case [name] among [cases], the pieces of each by its name. */
private fun bytesOf(name: String, cases: Map<String, List<*>>): ByteArray {
    val data = ByteArrayOutputStream()
    for (piece in cases.getValue(name)) data.write(bytesOf(piece as Map<*, *>, cases))
    return data.toByteArray()
}

private fun bytesOf(piece: Map<*, *>, cases: Map<String, List<*>>): ByteArray = when (piece.keys) {
    setOf("hex") -> unhex(piece["hex"])
    setOf("text") -> (piece["text"] as String).toByteArray()
    setOf("case", "lines") -> {
        val (first, last) = numbers(piece["lines"])
        lines(bytesOf(piece["case"] as String, cases)).subList(first - 1, last).joinToString("")
            .toByteArray(Charsets.ISO_8859_1)
    }
    setOf("varints", "before", "after") -> {
        val (first, last) = numbers(piece["varints"])
        val data = ByteArrayOutputStream()
        for (number in first..last) {
            for (part in listOf(unhex(piece["before"]), varint(number), unhex(piece["after"]))) data.write(part)
        }
        data.toByteArray()
    }
    else -> throw IllegalArgumentException("a piece has unknown keys: ${piece.keys}")
}

private fun numbers(tree: Any?): List<Int> = (tree as List<*>).map { (it as Long).toInt() }

private fun unhex(text: Any?): ByteArray = unhex(text as String)

/** Returns the lines of [data], one character a byte, each with the line feed that ends it. */
private fun lines(data: ByteArray): List<String> = data.toString(Charsets.ISO_8859_1).split(Regex("(?<=\n)"))

private fun varint(number: Int): ByteArray {
    var rest = number
    val data = ByteArrayOutputStream()
    while (rest > 0x7F) {
        data.write(rest and 0x7F or 0x80)
        rest = rest ushr 7
    }
    data.write(rest)
    return data.toByteArray()
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
