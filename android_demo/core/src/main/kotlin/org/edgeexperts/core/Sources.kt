/** The examples that a device learns from. Axes: N examples, C labels. */
package org.edgeexperts.core

/** N labelled texts that do not change. */
public interface ExampleSource {
    /** Row of the head of each example. */
    public val labels: IntArray

    /** Changes when any example does. */
    public val digest: ByteArray

    /** N. */
    public val size: Int get() = labels.size

    /** The text of an example. */
    public fun text(row: Int): String
}

/** Returns the examples of each label among [rows], [C]. */
internal fun labelCounts(source: ExampleSource, rows: IntArray, labels: Int): FloatArray =
    FloatArray(labels).also { counts -> rows.forEach { counts[source.labels[it]]++ } }
