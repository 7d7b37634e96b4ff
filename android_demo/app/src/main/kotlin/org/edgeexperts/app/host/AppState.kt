/** What the screens show: one value that never changes once made, from the host to every screen. */
package org.edgeexperts.app.host

import org.edgeexperts.background.Mode
import org.edgeexperts.core.DeviceState
import org.edgeexperts.core.Example
import org.edgeexperts.core.Prediction
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.Manifest

/** How far the model is. */
enum class ModelPhase { NONE, COPYING, OPENING, READY }

/**
 * The package in use.
 *
 * @property digest hex, over its manifest.
 */
class Model(val manifest: Manifest, val digest: String)

/**
 * A text that was read.
 *
 * @property millis that it took.
 * @property kept the example that it was made into; null: not yet.
 */
data class Answer(val text: String, val prediction: Prediction, val millis: Long, val kept: Example? = null)

/**
 * Everything.
 *
 * @property engine name of what executes programs; null: this build has none.
 * @property reading whether a text is being read.
 * @property examples newest first.
 * @property deleted the example deleted last, while that can be undone.
 * @property device what core tells.
 * @property upToDate whether what is to be trained alone was trained.
 * @property stopped the user pressed Stop, and not Start since.
 */
data class AppState(
    val engine: String? = null,
    val phase: ModelPhase = ModelPhase.NONE,
    val model: Model? = null,
    val reading: Boolean = false,
    val answer: Answer? = null,
    val examples: List<Example> = emptyList(),
    val deleted: Example? = null,
    val device: DeviceState = DeviceState(),
    val mode: Mode = Mode.NONE,
    val upToDate: Boolean = false,
    val stopped: Boolean = false,
    val enrolment: Enrolment? = null,
    val settings: Settings = Settings(),
    val problem: Problem? = null,
)
