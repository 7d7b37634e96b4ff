/** States to draw: a real manifest and enrolment of the shared vectors, and plausible numbers. */
package org.edgeexperts.app

import org.edgeexperts.app.host.Answer
import org.edgeexperts.app.host.AppState
import org.edgeexperts.background.Mode
import org.edgeexperts.app.host.Model
import org.edgeexperts.app.host.ModelPhase
import org.edgeexperts.app.host.Settings
import org.edgeexperts.app.host.problemOf
import org.edgeexperts.core.DeviceState
import org.edgeexperts.core.Doing
import org.edgeexperts.core.Example
import org.edgeexperts.core.Fill
import org.edgeexperts.core.HeldExperts
import org.edgeexperts.core.Hindrance
import org.edgeexperts.core.LinkState
import org.edgeexperts.core.LossPoint
import org.edgeexperts.core.Prediction
import org.edgeexperts.core.Shortfall
import org.edgeexperts.core.VerdictNote
import org.edgeexperts.wire.Case
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.Manifest
import org.edgeexperts.wire.PackageException
import kotlin.math.exp
import kotlin.math.sin

val manifest: Manifest = Manifest.fromJson(Case.bytes("Manifest", "accept_small"))
val enrolment: Enrolment = Enrolment.fromJson(Case.bytes("Enrolment", "accept_tls"))

private val scores = linkedMapOf(
    "change_speed" to 0.62, "traffic" to 0.21, "restaurant_reservation" to 0.09, "weather" to 0.04, "alarm" to 0.03,
    "timer" to 0.005, "schedule_meeting" to 0.003, "play_music" to 0.002,
)
val answer = Answer("could you talk a bit slower please", Prediction("change_speed", 0.62, scores, 12, true), 31)

private val texts = listOf(
    "set a timer for the pasta" to "timer",
    "is there anything on the A8 towards Ulm this morning, I would rather not stand in a jam again" to "traffic",
    "book us a table for four on friday evening" to "restaurant_reservation",
    "wake me at half past six" to "alarm",
)
val examples = texts.mapIndexed { id, (text, label) -> Example(id.toLong(), text, label) }

/** A loss that falls and wavers, as one of a real run does. */
val losses = (1..60).map { LossPoint(it, 1.1 * exp(-it / 18.0) + 0.12 + 0.06 * sin(it * 2.4)) }

val ready = AppState(
    engine = "android executorch", phase = ModelPhase.READY, model = Model(manifest, "3fa9c0d1b27e" + "0".repeat(52)),
    examples = examples, device = DeviceState(version = 12, examples = 4, tier = manifest.tiers[0].method),
)

val training = ready.copy(
    mode = Mode.NOW,
    settings = Settings(background = true),
    enrolment = enrolment,
    device = ready.device.copy(
        doing = Doing.TRAINING, link = LinkState.MEMBER, round = 7, roundsPlanned = 20, losses = losses, step = 60,
        steps = 80, stepMs = 214.3, fill = Fill(60, 840, 12_900, 15_360), peakMemoryMib = 186.4, personal = true, bytesUp = 1_482_112, bytesDown = 6_310_400,
        experts = listOf(HeldExperts(4, listOf(0, 2, 3), listOf(5)), HeldExperts(5, listOf(1, 2, 7), listOf(0))),
        verdicts = listOf(
            VerdictNote(0, "delta", 4, "ACCEPTED", ""),
            VerdictNote(0, "delta", 5, "STALE", "trained from version 9, this round started from 11"),
            VerdictNote(0, "delta", 6, "ACCEPTED", ""),
        ),
    ),
)

/** Every state worth a look, by name: the destination and what it shows. */
val scenes: Map<String, Pair<Int, AppState>> = linkedMapOf(
    "first-start" to (0 to AppState(engine = "android executorch")),
    "no-runtime" to (0 to AppState()),
    "copying" to (0 to AppState(engine = "android executorch", phase = ModelPhase.COPYING)),
    "classify" to (0 to ready.copy(answer = answer)),
    "kept" to (0 to ready.copy(answer = answer.copy(kept = examples[1]), deleted = examples[0])),
    "problem" to (0 to ready.copy(problem = problemOf(PackageException("package file program.pte was changed")))),
    "training" to (1 to training),
    "training-waits" to (
        1 to training.copy(
            mode = Mode.QUIET,
            device = training.device.copy(
                doing = Doing.PAUSED, hindrances = setOf(Hindrance.IN_USE, Hindrance.LOW_BATTERY, Hindrance.METERED),
            ),
        )
        ),
    "training-off" to (1 to ready),
    "training-in-vain" to (1 to ready.copy(device = ready.device.copy(shortfalls = Shortfall.entries.toSet()))),
    "unlearned" to (0 to ready.copy(answer = answer.copy(prediction = answer.prediction.copy(learned = false)))),
    "federation" to (2 to training),
    "federation-none" to (2 to ready),
    "settings" to (3 to training),
    "about" to (4 to ready),
    "about-no-runtime" to (4 to AppState()),
)
