package org.edgeexperts.core

/**
 * How full steps were: places that no token stands in cost as much as those that one does.
 *
 * @property steps that were made.
 * @property texts that these took.
 * @property tokens of the texts.
 * @property places that the steps had for tokens.
 */
public data class Fill(
    public val steps: Int = 0,
    public val texts: Long = 0,
    public val tokens: Long = 0,
    public val places: Long = 0,
) {
    /** Share of the places that hold a token, in [0, 1]. */
    public val share: Double get() = if (places > 0) tokens.toDouble() / places else 0.0

    /** Mean texts of a step. */
    public val textsPerStep: Double get() = if (steps > 0) texts.toDouble() / steps else 0.0

    /** Returns the fill of the steps of both. */
    public operator fun plus(other: Fill): Fill =
        Fill(steps + other.steps, texts + other.texts, tokens + other.tokens, places + other.places)
}
