package org.edgeexperts.core

import org.edgeexperts.wire.labelWeights
import org.edgeexperts.wire.withPrior

/**
 * How far predictions follow the labels of this device's own examples: a label that many of them have gets likelier, one that
 * few have less likely (SPEC.md, "Label prior"). Counts and strength stay on the device; training does not see them, and
 * no message is made from them.
 *
 * @property strength power of the label frequencies; 0 leaves probabilities as the model gives them.
 */
public enum class LabelPrior(public val strength: Double) {
    OFF(0.0),
    HALF(0.5),
    FULL(1.0),
    ;

    /**
     * Returns the probabilities [C] of a model under this prior.
     *
     * @param counts [C], examples of each label on this device.
     */
    internal fun applied(probabilities: FloatArray, counts: FloatArray): FloatArray =
        withPrior(probabilities, labelWeights(counts, strength))
}
