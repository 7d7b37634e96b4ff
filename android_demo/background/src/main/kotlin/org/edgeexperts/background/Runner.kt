package org.edgeexperts.background

import org.edgeexperts.core.Conditions
import org.edgeexperts.core.EdgeDevice
import org.edgeexperts.core.Ending
import org.edgeexperts.core.Gate
import org.edgeexperts.core.PartOptions
import org.edgeexperts.core.TrainOptions
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.FederationException
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread

/** How it ended: by itself, or with an error. Not told when the runner ended it. */
public class Ended(public val request: RunRequest, public val error: Exception?)

/**
 * Keeps one device at what is asked for, one request at a time. Call it from one thread.
 *
 * @param conditions reads what the phone is like.
 * @param seconds a clock that only goes forward.
 * @param told hears from another thread that work ended.
 */
public class Runner(
    private val device: EdgeDevice,
    private val conditions: () -> Conditions,
    private val seconds: () -> Double,
    private val told: (Ended) -> Unit,
) {
    private class Running(val request: RunRequest, val stop: () -> Unit, val thread: Thread)

    private var running: Running? = null

    /** Whether something is at work; also after it ended by itself, until the next [want]. */
    public val current: RunRequest? get() = running?.request

    /** Ends what is under way, with its progress kept, and begins [request]; null: nothing. */
    public fun want(request: RunRequest?) {
        if (request == running?.request && running?.thread?.isAlive != false) return
        running?.let {
            it.stop()
            it.thread.join()
        }
        running = request?.let { if (it.enrolment == null) alone(it) else together(it, it.enrolment) }
    }

    private fun gate(request: RunRequest): Gate {
        val asked = request.constraints
        // Alone, nothing is sent.
        return Gate(if (request.enrolment == null) asked.copy(needsUnmetered = false) else asked, seconds, conditions)
    }

    private fun alone(request: RunRequest): Running {
        val stopped = AtomicBoolean()
        return start(request, stopped, {
            stopped.set(true)
            device.wake()
        }) {
            val ending = device.train(TrainOptions(stepsFor(device), gate = gate(request)), stop = stopped::get)
            if (ending == Ending.STOPPED) stopped.set(true)
        }
    }

    private fun together(request: RunRequest, enrolment: Enrolment): Running {
        // Asked for by hand it is one round, then the conditions count again.
        val rounds = if (request.mode == Mode.NOW) 1 else 0
        val options = PartOptions(request.budget, gate(request), rounds)
        val part = device.takePart(enrolment, options)
        val stopped = AtomicBoolean()
        return start(request, stopped, {
            stopped.set(true)
            part.stop()
        }) { part.await() }
    }

    private fun start(request: RunRequest, stopped: AtomicBoolean, stop: () -> Unit, body: () -> Unit): Running {
        val thread = thread(name = "device") {
            val error = try {
                body()
                null
            } catch (error: FederationException) {
                error
            } catch (error: RuntimeException) {
                error
            }
            if (error != null || !stopped.get()) told(Ended(request, error))
        }
        return Running(request, stop, thread)
    }
}

/** Steps that train every example about four times, but a sensible number of them. */
public fun stepsFor(device: EdgeDevice): Int {
    val tier = device.packageFolder.manifest.tiers.first()
    val batches = (device.examples().size + tier.batchSize - 1) / tier.batchSize
    return (EPOCHS * batches.toInt()).coerceIn(FEWEST_STEPS, MOST_STEPS)
}

private const val EPOCHS = 4
private const val FEWEST_STEPS = 20
private const val MOST_STEPS = 200
