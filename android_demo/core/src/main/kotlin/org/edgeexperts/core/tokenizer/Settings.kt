package org.edgeexperts.core.tokenizer

import org.edgeexperts.core.TokenizerException
import org.edgeexperts.wire.shown

private const val LARGEST_ID = Int.MAX_VALUE.toLong()

/**
 * An object of a tokenizer.json. Keys that nobody asks for are passed over, as the tokenizers library does.
 *
 * @param name of the object, for people.
 * @param file for people.
 */
internal class Settings(private val values: Map<*, *>, private val name: String, private val file: String) {
    val type: Any? get() = values["type"]

    fun refuse(why: String): Nothing = throw TokenizerException(
        "$file is no tokenizer that is read here: $why; docs/android.md of this project says what is",
    )

    fun refuseType(expected: String): Nothing = refuse("its $name is ${shown(type)}, expected $expected")

    private fun wrong(key: String): Nothing = refuse("$key of its $name is ${shown(values[key])}")

    fun has(key: String): Boolean = values[key] != null

    fun truth(key: String, default: Boolean): Boolean = if (has(key)) values[key] as? Boolean ?: wrong(key) else default

    fun text(key: String): String = values[key] as? String ?: wrong(key)

    fun text(key: String, default: String): String = if (has(key)) text(key) else default

    fun id(key: String): Long = idOf(values[key]) ?: wrong(key)

    fun id(key: String, default: Long): Long = if (has(key)) id(key) else default

    fun list(key: String): List<*> = values[key] as? List<*> ?: wrong(key)

    fun ids(key: String): List<Long> = list(key).map { idOf(it) ?: wrong(key) }

    /** Ids by text. */
    fun vocabulary(key: String): Map<String, Long> =
        (values[key] as? Map<*, *> ?: wrong(key)).entries.associate { (piece, id) -> (piece as String) to (idOf(id) ?: wrong(key)) }

    fun nested(key: String, called: String = key): Settings = Settings(values[key] as? Map<*, *> ?: wrong(key), called, file)

    /** The objects of a list; where there is none, none. */
    fun each(key: String, called: String = name): List<Settings> =
        (if (has(key)) list(key) else emptyList<Any?>()).map { Settings(it as? Map<*, *> ?: wrong(key), called, file) }

    /** Refuses a setting that has another value than [allowed], or none. */
    fun expect(key: String, vararg allowed: Any?) {
        if (has(key) && values[key] !in allowed) wrong(key)
    }

    companion object {
        fun idOf(value: Any?): Long? = (value as? Long)?.takeIf { it in 0..LARGEST_ID }
    }
}
