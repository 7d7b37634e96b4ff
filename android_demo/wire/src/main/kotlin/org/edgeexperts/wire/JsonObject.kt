package org.edgeexperts.wire

/**
 * An object of a JSON tree that is read key by key; every refusal names the place in the tree.
 *
 * @property where the place, for errors.
 */
internal class JsonObject(private val where: String, private val tree: Map<String, Any?>) {
    private val asked = HashSet<String>()

    /** Builds a value from this object's keys and refuses keys that [build] did not ask for. */
    fun <T> all(build: JsonObject.() -> T): T {
        val value = build()
        val unknown = tree.keys.filterNot(asked::contains)
        if (unknown.isNotEmpty()) throw PackageException("$where: unknown keys ${shown(unknown, 200)}")
        return value
    }

    private fun get(name: String): Any? {
        asked += name
        if (name !in tree) throw PackageException("$where: missing key $name")
        return tree[name]
    }

    fun text(name: String): String = textOf(get(name), "$where.$name")

    fun whole(name: String): Long = wholeOf(get(name), "$where.$name")

    fun truth(name: String): Boolean = get(name) as? Boolean ?: refuse(tree[name], "$where.$name", "bool")

    fun number(name: String): Double = numberOf(get(name), "$where.$name")

    fun <T> nested(name: String, build: JsonObject.() -> T): T = objectOf(get(name), "$where.$name").all(build)

    fun texts(name: String): List<String> = list(name, ::textOf)

    fun wholes(name: String): List<Long> = list(name, ::wholeOf)

    fun <T> objects(name: String, build: JsonObject.() -> T): List<T> =
        list(name) { item, place -> objectOf(item, place).all(build) }

    fun <T> named(name: String, build: JsonObject.() -> T): Map<String, T> =
        map(name) { item, place -> objectOf(item, place).all(build) }

    fun textsByName(name: String): Map<String, String> = map(name, ::textOf)

    /** Numbers by name; a key that is not there is none. */
    fun optionalNumbers(name: String): Map<String, Double> =
        if (name in tree) map(name, ::numberOf) else emptyMap()

    /** A text that has a default. */
    fun optionalText(name: String, default: String): String = if (name in tree) text(name) else default

    /** Texts; a key that is not there is none. */
    fun optionalTexts(name: String): List<String> = if (name in tree) texts(name) else emptyList()

    /** A whole number that has a default. */
    fun optionalWhole(name: String, default: Long): Long = if (name in tree) whole(name) else default

    /** A number that has a default. */
    fun optionalNumber(name: String, default: Double): Double = if (name in tree) number(name) else default

    /** A truth that has a default. */
    fun optionalTruth(name: String, default: Boolean): Boolean = if (name in tree) truth(name) else default

    /** An object that is kept as it came. */
    fun anything(name: String): Map<String, Any?> = map(name) { item, _ -> item }

    private fun <T> list(name: String, read: (Any?, String) -> T): List<T> {
        val place = "$where.$name"
        val list = get(name) as? List<*> ?: refuse(tree[name], place, "a list")
        return list.mapIndexed { index, item -> read(item, "$place[$index]") }
    }

    private fun <T> map(name: String, read: (Any?, String) -> T): Map<String, T> {
        val place = "$where.$name"
        val members = get(name) as? Map<*, *> ?: refuse(tree[name], place, "an object")
        return members.entries.associate { (key, item) -> (key as String) to read(item, "$place.$key") }
    }

    companion object {
        /** Returns [tree] as an object to read. */
        fun objectOf(tree: Any?, where: String): JsonObject {
            val members = tree as? Map<*, *> ?: refuse(tree, where, "an object")
            return JsonObject(where, members.entries.associate { (key, item) -> (key as String) to item })
        }

        private fun textOf(tree: Any?, where: String) = tree as? String ?: refuse(tree, where, "str")

        private fun wholeOf(tree: Any?, where: String) = tree as? Long ?: refuse(tree, where, "int")

        private fun numberOf(tree: Any?, where: String): Double = when (tree) {
            is Long -> tree.toDouble()
            is Double -> tree
            else -> refuse(tree, where, "a number")
        }

        private fun refuse(tree: Any?, where: String, expected: String): Nothing =
            throw PackageException("${where.take(200)} is ${shown(tree, 60)}, expected $expected")
    }
}
