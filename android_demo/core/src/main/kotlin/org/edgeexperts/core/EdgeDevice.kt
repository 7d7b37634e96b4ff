/**
 * What an app embeds: a private text classifier that learns on its device, alone or in a federation.
 *
 * ```
 * val device = openDevice(packageFolder, stateFolder, engine)
 * device.addExample("wake me at six", "alarm")
 * device.train(TrainOptions(steps = 60))
 * println(device.classify("get me up by seven"))
 * val part = device.takePart(Enrolment.fromJson(bytes), PartOptions(gate = gate)) // goes on in the background
 * part.stop(); device.close()
 * ```
 *
 * Texts stay in the state folder. What leaves a device, and only while it takes part: deltas of experts, counts of
 * examples and tokens, losses, step times, class sums (which reveal label counts), the budget.
 */
package org.edgeexperts.core

import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.PackageFolder
import java.io.Closeable

/**
 * What a text is taken for.
 *
 * @property label the likeliest.
 * @property confidence its probability.
 * @property scores probability of every label, likeliest first; they add up to 1.
 * @property version of the bank that said so; 0 is the package's own.
 * @property personal whether this device's own training is on top of it.
 * @property learned whether the bank favours any label; the package's own does not, and all labels are equally likely but for
 *   a [LabelPrior].
 */
public data class Prediction(
    public val label: String,
    public val confidence: Double,
    public val scores: Map<String, Double>,
    public val version: Long,
    public val personal: Boolean,
    public val learned: Boolean = true,
)

/**
 * A private example.
 *
 * @property id a number that no other example of this device ever had.
 * @property label one of the package's, unless the package was replaced since.
 */
public data class Example(public val id: Long, public val text: String, public val label: String)

/**
 * How to train on this device alone.
 *
 * @property steps optimizer steps.
 * @property learningRate of experts at the first step; it falls to a tenth in a straight line.
 * @property sharedShare rate of shared experts, as a share of it.
 * @property headShare rate of the head, likewise; 0 keeps it.
 * @property seed of the batch order.
 * @property gate asked between steps; null always trains.
 */
public data class TrainOptions(
    public val steps: Int,
    public val learningRate: Double = 4e-3,
    public val sharedShare: Double = 1.0,
    public val headShare: Double = 0.1,
    public val seed: Long = 0,
    public val gate: Gate? = null,
)

/** How a training ended. */
public enum class Ending {
    /** Every step was made; the device predicts with what it learned. */
    DONE,

    /** It was stopped, or its gate closed for good; the same call goes on from there. */
    STOPPED,
}

/**
 * How to take part in a federation.
 *
 * @property budget what this device may spend; null takes the package's own.
 * @property gate asked between steps; null always trains. While it says METERED nothing large is sent or fetched.
 * @property rounds to stop after; 0 goes on until the gateway has done all of its own.
 * @property checkpointSeconds at most that much training is lost by a kill.
 */
public data class PartOptions(
    public val budget: Budget? = null,
    public val gate: Gate? = null,
    public val rounds: Int = 0,
    public val checkpointSeconds: Double = 5.0,
)

/** A device that takes part, on a thread of its own. */
public interface Participation {
    /** Whether it still does. */
    public val running: Boolean

    /**
     * Asks it to end after the step at hand, with its progress kept; returns at once. Taking part again, also in another
     * process, goes on from there.
     */
    public fun stop()

    /**
     * Waits for its end.
     *
     * @param millis at most; 0 waits for ever.
     * @return whether it has ended.
     * @throws EdgeException what it ended with, if not in order: [ExpelledException] when the gateway refuses this
     *   device for good.
     */
    public fun await(millis: Long = 0): Boolean
}

/**
 * One device: a package, a folder of its own, an engine. One of them at a time uses a state folder.
 *
 * Methods may be called from any thread. All but [state], [labels], [examples] and [takePart] may take long, and wait
 * while a step is made: never call them on a thread that draws.
 */
public interface EdgeDevice : Closeable {
    /** The package that it runs. */
    public val packageFolder: PackageFolder

    /** Labels that it knows, in the order of the head's rows. */
    public val labels: List<String>

    /** Where it stands now. */
    public val state: DeviceState

    /**
     * Tells [listener] every state from now on, the present one first, on whatever thread changed it: hand it on to
     * your own and return at once. Close what is returned to hear no more.
     */
    public fun listen(listener: (DeviceState) -> Unit): Closeable

    /**
     * Says what [text] is.
     *
     * @param prior how much the labels of this device's own examples, as they are now, count.
     * @throws ExampleException for a text without a character.
     * @throws EngineException when the program cannot be run here.
     */
    public fun classify(text: String, prior: LabelPrior = LabelPrior.OFF): Prediction

    /**
     * Keeps an example on this device.
     *
     * @throws ExampleException for a blank or very long text, or a label that the package does not know.
     * @throws StoreException when the disk refuses.
     */
    public fun addExample(text: String, label: String): Example

    /** Adds many (text, label) with one write; none when one of them is refused. Throws as [addExample] does. */
    public fun addExamples(examples: List<Pair<String, String>>): List<Example>

    /** Removes an example; returns whether it was there. What was learned from it stays. */
    public fun removeExample(id: Long): Boolean

    /** All examples, oldest first. */
    public fun examples(): List<Example>

    /**
     * Trains on the examples of this device alone; what was stopped goes on where it was, if neither options nor
     * examples changed. Afterwards the device predicts with it until a newer version comes from the federation.
     *
     * @param step told after each step.
     * @param stop asked before each step; true ends the call.
     * @throws ExampleException when there are no examples.
     * @throws BudgetException when no program size of the package fits.
     * @throws ConfigException while it takes part in a federation.
     */
    public fun train(options: TrainOptions, step: (LossPoint) -> Unit = {}, stop: () -> Boolean = { false }): Ending

    /**
     * Looks at once at its gate's conditions and at `stop`, where training waits or a device takes part; otherwise it does
     * so within a second. For whoever hears from the system that a charger or a network came or went. Returns at once.
     */
    public fun wake()

    /** Predicts with the federation's version again, without what this device learned by itself. */
    public fun forgetTraining()

    /**
     * Takes part in a federation, in the background, with the examples that are there now.
     *
     * @throws ConfigException when it already does, the enrolment is for another package or federation, or cannot be
     *   used.
     * @throws ExampleException when there are no examples.
     */
    public fun takePart(enrolment: Enrolment, options: PartOptions = PartOptions()): Participation

    /** Ends what is under way, with its progress kept, and frees the program and the folder. */
    override fun close()
}
