/** Topic names, with quality of service and retention of each: edge_runtime/wire/SPEC.md, "Topics". */
package org.edgeexperts.wire

internal const val ROOT = "fl/v1"
private val NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
private val BLOB = Regex("[0-9a-f]{64}")

/** MQTT's quality of service of every message. */
public const val QOS: Int = 1

/**
 * The fourth word of a topic; a fifth names the device or the blob, but after GATEWAY and VERSION.
 *
 * @property word as the topic has it.
 * @property retained whether the broker keeps the last message.
 */
public enum class Topic(public val word: String, public val retained: Boolean) {
    GATEWAY("gateway", true),
    VERSION("version", true),
    PLAN("plan", true),
    VERDICT("verdict", false),
    BLOB("blob", false),
    HELLO("hello", false),
    BYE("bye", false),
    DELTA("delta", false),
    STATISTICS("statistics", false),
    WANT("want", false),
    OFFER("offer", false),
    MASKS("masks", false),
    SECURE("secure", true),
}

/** A parsed topic; [name] is the device, or the hex digest of a blob, or empty. */
public data class Address(public val federation: String, public val topic: Topic, public val name: String = "") {
    /** Returns the topic as MQTT knows it. */
    override fun toString(): String {
        val path = "$ROOT/$federation/${topic.word}"
        return if (name.isEmpty()) path else "$path/$name"
    }

    public companion object {
        /**
         * Returns the parts of [topic].
         *
         * @throws WireException MALFORMED when it is none of ours.
         */
        public fun parse(topic: String): Address {
            val words = topic.split("/")
            val kind = Topic.values().find { words.size in 4..5 && it.word == words[3] }
            if (kind == null || words.subList(0, 2).joinToString("/") != ROOT) {
                throw malformed("topic ${shown(topic)} is none of $ROOT/FEDERATION/...")
            }
            val alone = kind == Topic.GATEWAY || kind == Topic.VERSION
            if (alone != (words.size == 4)) throw malformed("topic ${shown(topic)} has the wrong number of words")
            val name = if (alone) "" else checkName(words[4], "name")
            if (kind == Topic.BLOB && !BLOB.matches(name)) {
                throw malformed("blob ${shown(name)} is no SHA-256 in 64 lower-case hex digits")
            }
            return Address(checkName(words[2], "federation"), kind, name)
        }
    }
}

/**
 * Returns [name] when it may stand in a topic: no wildcard or slash can get in.
 *
 * @throws WireException MALFORMED otherwise.
 */
public fun checkName(name: String, what: String): String {
    if (NAME.matches(name)) return name
    throw malformed(
        "$what ${shown(name)} must be 1-64 letters, digits, dots, dashes or underscores" +
            " and start with a letter or digit",
    )
}

/**
 * Returns what a device listens to from the start.
 *
 * On top come the blobs that it wants, one by one, and SECURE with the first plan under masks: a broker that knows nothing of
 * those would refuse it.
 *
 * @throws WireException MALFORMED for a name that may not stand in a topic.
 */
public fun deviceSubscriptions(federation: String, device: String): List<String> {
    checkName(federation, "federation")
    checkName(device, "device")
    return listOf(
        Address(federation, Topic.GATEWAY),
        Address(federation, Topic.VERSION),
        Address(federation, Topic.PLAN, device),
        Address(federation, Topic.VERDICT, device),
    ).map(Address::toString)
}
