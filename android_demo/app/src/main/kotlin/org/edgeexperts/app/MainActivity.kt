package org.edgeexperts.app

import android.Manifest
import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.os.Build
import android.os.Bundle
import android.view.ViewGroup
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Host
import org.edgeexperts.app.host.Problem
import org.edgeexperts.app.host.Settings
import org.edgeexperts.app.host.problemOf
import org.edgeexperts.app.job.schedule
import org.edgeexperts.app.ui.AboutScreen
import org.edgeexperts.app.ui.ClassifyScreen
import org.edgeexperts.app.ui.Dialogs
import org.edgeexperts.app.ui.FederationScreen
import org.edgeexperts.app.ui.Pickers
import org.edgeexperts.app.ui.ProblemView
import org.edgeexperts.app.ui.Screen
import org.edgeexperts.app.ui.SettingsScreen
import org.edgeexperts.app.ui.TrainingScreen
import org.edgeexperts.app.ui.getAnswer
import org.edgeexperts.app.ui.putAnswer
import org.edgeexperts.app.ui.visible
import org.edgeexperts.app.widget.NavBar
import org.edgeexperts.background.TrainingJobs
import org.edgeexperts.wire.Enrolment
import org.edgeexperts.wire.EnrolmentException

/** The app's one window: five destinations, and what leads out of them. */
class MainActivity : Activity(), Pickers, TrainingScreen.Actions, SettingsScreen.Actions {
    private val host: Host get() = (application as EdgeApp).host
    private val dialogs = Dialogs(this)
    private lateinit var screens: List<Screen>
    private lateinit var problem: ProblemView
    private var federated: Boolean? = null
    private val nav: NavBar get() = findViewById(R.id.nav)
    private val listener: (AppState) -> Unit = ::show

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        problem = ProblemView(findViewById(R.id.problem), host::dismiss)
        val parent = findViewById<ViewGroup>(R.id.screens)
        val classify = ClassifyScreen(parent, host, this, dialogs::chooseLabel)
        screens = listOf(
            classify,
            TrainingScreen(parent, this),
            FederationScreen(parent, this, ::askToLeave),
            SettingsScreen(parent, this, this),
            AboutScreen(parent, versionName(), dialogs::showLicence),
        )
        screens.forEach { parent.addView(it.view) }
        nav.destinations(DESTINATIONS)
        nav.onChosen = ::go
        go(savedInstanceState?.getInt(SCREEN) ?: 0)
        savedInstanceState?.getAnswer()?.let(host::restore)
        if (savedInstanceState == null) take(intent)
    }

    private fun versionName() = packageManager.getPackageInfo(packageName, 0).versionName

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        take(intent)
    }

    /** Takes what the app was opened with: a text from another app, or a press on the notification. */
    private fun take(intent: Intent) {
        if (intent.getBooleanExtra(TRAINING, false)) go(1)
        if (intent.action != Intent.ACTION_SEND) return
        val shared = intent.getCharSequenceExtra(Intent.EXTRA_TEXT)?.toString()
        if (shared.isNullOrBlank()) return
        if ("enrolment_format" in shared) return askToJoin(shared.toByteArray())
        go(0)
        (screens[0] as ClassifyScreen).take(shared)
    }

    /** Shows a state on every screen. */
    internal fun show(state: AppState) {
        val together = state.enrolment != null
        if (together != federated) schedule(this, state.settings, together) // it needs the network, or no more
        federated = together
        problem.show(state.problem)
        screens.forEach { it.show(state) }
    }

    /** Opens a destination by its place. */
    internal fun go(place: Int) {
        nav.selected = place
        screens.forEachIndexed { at, screen -> screen.view.visible(at == place) }
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) {
            screens[place].view.accessibilityPaneTitle = getString(DESTINATIONS[place].second)
        }
    }

    override fun onStart() {
        super.onStart()
        host.listen(listener)
        host.show(true)
    }

    override fun onStop() {
        host.show(false)
        host.unlisten(listener)
        super.onStop()
    }

    override fun onDestroy() {
        dialogs.close()
        super.onDestroy()
    }

    override fun onSaveInstanceState(out: Bundle) {
        super.onSaveInstanceState(out)
        out.putInt(SCREEN, nav.selected)
        host.state.answer?.let(out::putAnswer)
    }

    // --- training and settings ---------------------------------------------------------------------------------------

    override fun start() {
        askToNotify()
        host.start()
        TrainingJobs.now(this)
    }

    override fun stop() {
        host.stop()
        TrainingJobs.notNow(this)
    }

    override fun background(on: Boolean) {
        if (on) askToNotify()
        set(host.state.settings.copy(background = on))
    }

    override fun set(settings: Settings) {
        host.set(settings)
        schedule(this, settings, host.state.enrolment != null)
    }

    override fun ask(title: Int, options: List<String>, selected: Int, chosen: (Int) -> Unit) =
        dialogs.chooseOne(title, options, selected, chosen)

    override fun forget() = dialogs.confirm(
        R.string.settings_forget_title, getText(R.string.settings_forget_text), R.string.forget, host::forget,
    )

    override fun erase() = dialogs.confirm(
        R.string.settings_erase_title, getText(R.string.settings_erase_text), R.string.delete, host::erase,
    )

    private fun askToLeave() = dialogs.confirm(
        R.string.federation_leave_title, getText(R.string.federation_leave_text), R.string.federation_leave, host::leave,
    )

    /** An enrolment that another app shares, the phone's scanner for one: any app can, so the user decides. */
    private fun askToJoin(data: ByteArray) {
        val enrolment = try {
            Enrolment.fromJson(data)
        } catch (error: EnrolmentException) {
            return host.report(problemOf(error))
        }
        go(2)
        val text = enrolment.run { getString(R.string.federation_join_text, federation, device, gateway.host) }
        dialogs.confirm(R.string.federation_join_title, text, R.string.federation_join) { host.enrol(data) }
    }

    private fun askToNotify() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return
        if (checkSelfPermission(Manifest.permission.POST_NOTIFICATIONS) == PackageManager.PERMISSION_GRANTED) return
        requestPermissions(arrayOf(Manifest.permission.POST_NOTIFICATIONS), 0)
    }

    // --- files -------------------------------------------------------------------------------------------------------

    override fun pickZip() = pick(ZIP, openable(ZIP_TYPES))

    override fun pickFolder() = pick(FOLDER, Intent(Intent.ACTION_OPEN_DOCUMENT_TREE))

    override fun pickEnrolment() = pick(ENROLMENT, openable(JSON_TYPES))

    /** Providers disagree about types: the usual ones are offered, the content decides. */
    private fun openable(types: Array<String>) = Intent(Intent.ACTION_OPEN_DOCUMENT)
        .addCategory(Intent.CATEGORY_OPENABLE).setType("*/*").putExtra(Intent.EXTRA_MIME_TYPES, types)

    private fun pick(code: Int, intent: Intent) = try {
        startActivityForResult(intent, code)
    } catch (error: ActivityNotFoundException) {
        host.report(Problem(R.string.problem_no_picker, R.string.problem_no_picker_text, error.message.orEmpty()))
    }

    override fun onActivityResult(code: Int, result: Int, data: Intent?) {
        val uri = data?.data
        if (result != RESULT_OK || uri == null) return
        when (code) {
            ZIP -> host.importZip(uri)
            FOLDER -> host.importFolder(uri)
            ENROLMENT -> host.enrol(uri)
        }
    }

    companion object {
        /** Extra of an intent: open the training screen. */
        const val TRAINING = "training"

        private const val SCREEN = "screen"
        private const val ZIP = 1
        private const val FOLDER = 2
        private const val ENROLMENT = 3
        private val ZIP_TYPES = arrayOf("application/zip", "application/x-zip-compressed", "application/octet-stream")
        private val JSON_TYPES = arrayOf("application/json", "text/*", "application/octet-stream")
        private val DESTINATIONS = listOf(
            R.drawable.ic_classify to R.string.nav_classify,
            R.drawable.ic_training to R.string.nav_training,
            R.drawable.ic_federation to R.string.nav_federation,
            R.drawable.ic_settings to R.string.nav_settings,
            R.drawable.ic_about to R.string.nav_about,
        )
    }
}
