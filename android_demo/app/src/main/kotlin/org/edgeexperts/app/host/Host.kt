package org.edgeexperts.app.host

import android.content.Context
import android.net.Uri
import android.os.Handler
import android.os.Looper
import org.edgeexperts.background.Agenda
import org.edgeexperts.background.Ended
import org.edgeexperts.background.Mode
import org.edgeexperts.background.PhoneConditions
import org.edgeexperts.background.Runner
import org.edgeexperts.background.Situation
import org.edgeexperts.core.ConfigException
import org.edgeexperts.core.EdgeDevice
import org.edgeexperts.core.Engine
import org.edgeexperts.core.Example
import org.edgeexperts.core.PackageSource
import org.edgeexperts.core.PackageStore
import org.edgeexperts.core.replaceFile
import org.edgeexperts.wire.ENROLMENT_LIMIT
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.PackageException
import org.edgeexperts.wire.PackageFolder
import org.edgeexperts.wire.hex
import org.edgeexperts.wire.unhex
import java.io.Closeable
import java.io.File
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit

private const val NANOS_PER_SECOND = 1e9
private const val NANOS_PER_MILLI = 1_000_000L

/** Opens a device: package, state folder, engine. */
typealias Opener = (PackageFolder, File, Engine) -> EdgeDevice

/**
 * The one device of this process and what is done with it. Its methods return at once; what they lead to comes to the
 * listeners, on the main thread.
 *
 * @param engine executes programs; null where this build has none.
 * @param open opens a device.
 */
class Host(private val context: Context, private val engine: Engine?, private val open: Opener) {
    private val kept = context.getSharedPreferences("app", Context.MODE_PRIVATE)
    private val packages = PackageStore(File(context.noBackupFilesDir, "packages"))
    private val enrolmentFile = File(context.noBackupFilesDir, "enrolment.json")
    private val main = Handler(Looper.getMainLooper())
    private val work = Executors.newSingleThreadExecutor { Thread(it, "host") }
    private val states = States(AppState(engine = engine?.name, settings = Settings.read(kept)), main)
    private val conditions = PhoneConditions(context)

    // Only the thread `host` touches these.
    private var device: EdgeDevice? = null
    private var runner: Runner? = null
    private var watching: Closeable? = null
    private var agenda = Agenda(stopped = kept.getBoolean(STOPPED, false), trained = kept.getString(TRAINED, null).orEmpty())

    /** What the screens show. */
    val state: AppState get() = states.now

    init {
        later(::readEnrolment)
        later(::begin) // also when the enrolment cannot be read
    }

    /** Tells [listener] every state, the present one at once, on the main thread. */
    fun listen(listener: (AppState) -> Unit) = states.listen(listener)

    /** Tells it no more. */
    fun unlisten(listener: (AppState) -> Unit) = states.unlisten(listener)

    private fun later(task: () -> Unit) = work.execute {
        try {
            task()
        } catch (error: Exception) { // whatever it is, the user is told and the app goes on
            states.change { copy(problem = problemOf(error), reading = false) }
        }
    }

    // --- package -------------------------------------------------------------------------------------------------

    private fun readEnrolment() {
        if (!enrolmentFile.exists()) return
        val enrolment = Enrolment.fromJson(enrolmentFile.readBytes())
        states.change { copy(enrolment = enrolment) }
    }

    private fun begin() {
        val current = packages.current()
        if (current != null) return use(current)
        assetSource(context.assets)?.let(::install)
    }

    /** Copies the package in a zip file, checks it and uses it. */
    fun importZip(uri: Uri) = later {
        copying { ZipSource(context.contentResolver, uri, File(context.cacheDir, "package.zip")).use(::install) }
    }

    /** Copies the package in a folder, checks it and uses it. */
    fun importFolder(tree: Uri) = later { copying { install(TreeSource(context.contentResolver, tree)) } }

    private fun copying(task: () -> Unit) {
        states.change { copy(phase = ModelPhase.COPYING, problem = null) }
        try {
            task()
        } finally {
            states.change { if (phase == ModelPhase.COPYING) copy(phase = phaseOf(model)) else this }
        }
    }

    private fun phaseOf(model: Model?) = if (model == null) ModelPhase.NONE else ModelPhase.READY

    private fun install(source: PackageSource) {
        states.change { copy(phase = ModelPhase.COPYING) }
        fun bytes(text: String?) = text?.takeIf { it.isNotEmpty() }?.let(::unhex)
        val folder = packages.install(source, bytes(state.enrolment?.packageDigest), bytes(state.enrolment?.packageKey))
        use(folder)
        packages.removeOthers()
    }

    private fun use(folder: PackageFolder) {
        closeDevice()
        val model = Model(folder.manifest, hex(folder.digest))
        states.change { copy(model = model, phase = ModelPhase.OPENING, answer = null) }
        try {
            if (engine != null) open(folder, engine)
        } finally {
            states.change { copy(phase = ModelPhase.READY) }
        }
        reconcile()
    }

    private fun open(folder: PackageFolder, engine: Engine) {
        // A state belongs to a bank's shape: each federation has a folder of its own.
        val federation = hex(folder.manifest.architecture.digest()).take(FOLDER_DIGITS)
        val opened = try {
            open(folder, File(context.noBackupFilesDir, "device-$federation"), engine)
        } catch (error: ConfigException) { // of a task that is not this app's
            throw PackageException(error.message.orEmpty(), error)
        }
        device = opened
        runner = Runner(opened, conditions::read, { System.nanoTime() / NANOS_PER_SECOND }) { ended ->
            later { ended(ended) }
        }
        watching = conditions.watch(opened::wake)
        opened.listen { told -> states.change { copy(device = told) } }
        showExamples()
    }

    private fun closeDevice() {
        watching?.close()
        runner?.want(null)
        device?.close()
        watching = null
        runner = null
        device = null
    }

    // --- texts and examples ----------------------------------------------------------------------------------------

    /** Says what a text is. */
    fun read(text: String) {
        states.change { copy(reading = true, problem = null) }
        later {
            if (device == null) packages.current()?.let(::use) // it could not be opened before; now, or the reason again
            val device = device ?: return@later states.change { copy(reading = false) }
            val answer = answerOf(device, text)
            states.change { copy(reading = false, answer = answer) }
        }
    }

    private fun answerOf(device: EdgeDevice, text: String): Answer {
        val began = System.nanoTime()
        val prediction = device.classify(text, state.settings.labelPrior)
        return Answer(text, prediction, (System.nanoTime() - began) / NANOS_PER_MILLI)
    }

    /** Reads the text of the answer anew; the example that was made of it stays. */
    private fun readAgain() {
        val shown = state.answer ?: return
        val answer = device?.let { answerOf(it, shown.text) } ?: return
        states.change { if (this.answer == shown) copy(answer = answer.copy(kept = shown.kept)) else this }
    }

    /** Shows an answer again that another process gave. */
    fun restore(answer: Answer) = states.change { if (this.answer == null) copy(answer = answer) else this }

    /** Makes the text that was read an example of [label]. */
    fun keep(label: String) = later {
        val answer = state.answer ?: return@later
        val device = device ?: return@later
        answer.kept?.let { device.removeExample(it.id) }
        val example = device.addExample(answer.text, label)
        states.change { copy(answer = answer.copy(kept = example), deleted = null) }
        showExamples()
    }

    /** Takes [keep] back. */
    fun unkeep() = later {
        val kept = state.answer?.kept ?: return@later
        device?.removeExample(kept.id)
        states.change { copy(answer = answer?.copy(kept = null)) }
        showExamples()
    }

    /** Deletes an example. */
    fun delete(example: Example) = later {
        device?.removeExample(example.id)
        states.change {
            val same = answer?.kept?.id == example.id
            copy(deleted = example, answer = if (same) answer?.copy(kept = null) else answer)
        }
        showExamples()
    }

    /** Takes the last [delete] back. */
    fun undelete() = later {
        val example = state.deleted ?: return@later
        device?.addExample(example.text, example.label)
        states.change { copy(deleted = null) }
        showExamples()
    }

    /** Deletes all examples. */
    fun erase() = later {
        device?.let { device -> device.examples().forEach { device.removeExample(it.id) } }
        states.change { copy(deleted = null, answer = answer?.copy(kept = null)) }
        showExamples()
    }

    /** Reads texts without what this phone learned by itself. */
    fun forget() = later {
        runner?.want(null)
        device?.forgetTraining()
        states.change { copy(answer = null) }
        happened { forgotten() }
    }

    private fun showExamples() {
        val examples = device?.examples().orEmpty()
        states.change { copy(examples = examples.asReversed()) }
        happened { changed() }
    }

    // --- what is at work ---------------------------------------------------------------------------------------------

    /** The app came into sight, or went. */
    fun show(shown: Boolean) = later { happened { seen(shown) } }

    /** A job of the system's began ([begun]) or must end. */
    fun job(begun: Boolean) = later { happened { job(begun) } }

    /** Trains at once. */
    fun start() = later { happened { start() } }

    /** Trains no more until [start]. */
    fun stop() = later { happened { stop() } }

    /** Takes other settings. */
    fun set(settings: Settings) {
        val before = state.settings
        settings.write(kept)
        states.change { copy(settings = settings) }
        later {
            if (settings.labelPrior != before.labelPrior) readAgain()
            if (settings.wishes != before.wishes) happened { changed() }
        }
    }

    private fun happened(event: Agenda.() -> Agenda) {
        val before = agenda
        agenda = before.event()
        if (agenda.stopped != before.stopped || agenda.trained != before.trained) {
            kept.edit().putBoolean(STOPPED, agenda.stopped).putString(TRAINED, agenda.trained).apply()
        }
        reconcile()
    }

    /** Begins, goes on with or ends what should be at work now. */
    private fun reconcile() {
        val upToDate = agenda.upToDate(situation())
        val wanted = agenda.wanted(situation())
        val before = runner?.current
        try {
            runner?.want(wanted)
        } catch (error: Exception) {
            agenda = agenda.refused(wanted)
            throw error
        } finally {
            if (runner?.current !== before) agenda = agenda.began(situation())
            val mode = runner?.current?.mode ?: Mode.NONE
            states.change { copy(mode = mode, stopped = agenda.stopped, upToDate = upToDate) }
        }
    }

    private fun situation(): Situation {
        val shown = state
        val open = shown.model?.digest.takeIf { device != null }
        return Situation(open, shown.device.version, shown.examples.map { it.id }, shown.enrolment, shown.settings.wishes)
    }

    private fun ended(ended: Ended) {
        happened { ended(ended.request, failed = ended.error != null) }
        ended.error?.let { throw it }
    }

    // --- federation --------------------------------------------------------------------------------------------------

    /** Joins the federation that a file names. */
    fun enrol(uri: Uri) = later { join(readLimited(context.contentResolver, uri, ENROLMENT_LIMIT)) }

    /** Joins the federation that a file's bytes name, as a code that was scanned has them. */
    fun enrol(data: ByteArray) = later { join(data) }

    private fun join(data: ByteArray) {
        val enrolment = Enrolment.fromJson(data)
        replaceFile(enrolmentFile, data)
        states.change { copy(enrolment = enrolment, problem = null) }
        happened { changed() }
    }

    /** Leaves it and forgets its credentials. */
    fun leave() = later {
        runner?.want(null)
        enrolmentFile.delete()
        states.change { copy(enrolment = null) }
        reconcile()
    }

    /** Ends what is under way, with its progress kept, and gives the files back. */
    fun close() {
        later(::closeDevice)
        work.shutdown()
        work.awaitTermination(CLOSING_S, TimeUnit.SECONDS)
    }

    /** Removes what is told of an error. */
    fun dismiss() = states.change { copy(problem = null) }

    /** Shows a problem that no error stands for. */
    fun report(problem: Problem) = states.change { copy(problem = problem) }

    private companion object {
        const val STOPPED = "stopped"
        const val TRAINED = "trained"
        const val FOLDER_DIGITS = 16
        const val CLOSING_S = 10L
    }
}
