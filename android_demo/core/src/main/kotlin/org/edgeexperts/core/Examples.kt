package org.edgeexperts.core

import org.edgeexperts.wire.sha256
import org.edgeexperts.wire.whole
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.DataInputStream
import java.io.DataOutputStream

private const val RECORD = "examples"

/** UTF-8 bytes of a text that is kept. */
public const val TEXT_BYTES: Int = 100_000

/**
 * The private examples of this device: one sealed record, replaced as a whole, so that a kill leaves the old list or the
 * new one. Any thread may ask.
 *
 * @param store of the device; no other file of it holds a text.
 * @param labels of the package; an example with another label is kept, but not learned from.
 */
internal class Examples(private val store: Store, private val labels: List<String>) {
    private var next: Long
    private var list: List<Example>

    init {
        // Not recalled, which would drop a damaged record: these texts are nowhere else.
        val record = store.read(RECORD)
        next = record?.head?.get("next") as Long? ?: 1
        list = record?.body?.let(::readExamples).orEmpty()
    }

    @Synchronized
    fun all(): List<Example> = list

    /** Examples that can be learned from. */
    val usable: Int get() = all().count { it.label in labels }

    /** Returns how many of them each of the package's labels has, [C]. */
    fun counts(): FloatArray {
        val byLabel = all().groupingBy(Example::label).eachCount()
        return FloatArray(labels.size) { (byLabel[labels[it]] ?: 0).toFloat() }
    }

    @Synchronized
    fun add(pairs: List<Pair<String, String>>): List<Example> {
        pairs.forEach(::check)
        val added = pairs.mapIndexed { place, (text, label) -> Example(next + place, whole(text).trim(), label) }
        keep(list + added, next + added.size)
        return added
    }

    @Synchronized
    fun remove(id: Long): Boolean {
        val left = list.filterNot { it.id == id }
        if (left.size == list.size) return false
        keep(left, next)
        return true
    }

    private fun check(pair: Pair<String, String>) {
        val (text, label) = pair
        if (text.isBlank()) throw ExampleException("an example without a text; write or share one first")
        val bytes = text.toByteArray().size
        if (bytes > TEXT_BYTES) throw ExampleException("a text of $bytes bytes, at most $TEXT_BYTES are kept; shorten it")
        if (label !in labels) throw ExampleException("the package has no label '${label.take(60)}'; it knows ${labels.size}")
    }

    private fun keep(examples: List<Example>, following: Long) {
        store.write(RECORD, Record(mapOf("next" to following), writeExamples(examples)))
        list = examples
        next = following
    }

    /**
     * Returns the examples as they are now; later changes do not reach what is returned.
     *
     * @throws ExampleException when there are none.
     */
    fun snapshot(): ExampleSource {
        val rows = labels.withIndex().associate { (row, label) -> label to row }
        val labelled = all().filter { it.label in rows }
        if (labelled.isEmpty()) throw ExampleException("no examples yet; add some before training")
        return Fixed(labelled, IntArray(labelled.size) { rows.getValue(labelled[it].label) }, labels)
    }

    private class Fixed(private val labelled: List<Example>, override val labels: IntArray, names: List<String>) : ExampleSource {
        override val digest = sha256(writeExamples(labelled) + names.joinToString("\n").toByteArray())

        override fun text(row: Int) = labelled[row].text
    }
}

private fun writeExamples(examples: List<Example>): ByteArray {
    val bytes = ByteArrayOutputStream()
    val data = DataOutputStream(bytes)
    data.writeInt(examples.size)
    for (example in examples) {
        data.writeLong(example.id)
        for (text in listOf(example.label, example.text)) {
            val encoded = text.toByteArray()
            data.writeInt(encoded.size)
            data.write(encoded)
        }
    }
    return bytes.toByteArray()
}

private fun readExamples(body: ByteArray): List<Example> {
    val data = DataInputStream(ByteArrayInputStream(body))
    fun text() = ByteArray(data.readInt()).also(data::readFully).decodeToString()
    return List(data.readInt()) {
        val id = data.readLong()
        val label = text()
        Example(id, text(), label)
    }
}
