/** What a training run was worth: how a bank labels texts before and after, and what a user must be told of it. */
package org.edgeexperts.core

import kotlin.math.min

/** Texts of the training data that a run is measured on. */
private const val SAMPLE = 200

/** What a run did not reach. `edge_runtime train` tells the same two. */
public enum class Shortfall {
    /** Every text gets the same label, and they have several. */
    ONE_LABEL,

    /** No more texts get their own label than before the run. */
    NO_BETTER,
}

/** Returns at most [most] of [count] rows, evenly spread, ascending. */
internal fun sample(count: Int, most: Int = SAMPLE): List<Int> =
    List(min(count, most)) { if (count > most) (it.toLong() * count / most).toInt() else it }

/** Returns the likeliest label of each text of [rows]. */
internal fun predicted(predictor: Predictor, source: ExampleSource, rows: List<Int>): List<Int> =
    predictor.readAll(rows.asSequence().map(source::text)).map { it.probabilities.indices.maxBy(it.probabilities::get) }.toList()

/**
 * Returns what to tell of a run: one label for all texts is no fault where they have one, and nothing is better than all
 * right.
 *
 * @param before what was predicted of each text before the run.
 * @param after the same after it.
 * @param labels the right ones.
 */
internal fun shortfalls(before: List<Int>, after: List<Int>, labels: List<Int>): Set<Shortfall> {
    fun right(guesses: List<Int>) = guesses.indices.count { guesses[it] == labels[it] }
    val one = after.distinct().size == 1 && labels.distinct().size > 1
    val noBetter = right(after) <= right(before) && right(after) < labels.size
    return buildSet {
        if (one) add(Shortfall.ONE_LABEL)
        if (noBetter) add(Shortfall.NO_BETTER)
    }
}
