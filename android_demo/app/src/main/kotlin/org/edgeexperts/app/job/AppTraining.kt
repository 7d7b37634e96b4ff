package org.edgeexperts.app.job

import android.content.Context
import android.content.Intent
import org.edgeexperts.app.MainActivity
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.host.Host
import org.edgeexperts.app.ui.trainingPhase
import org.edgeexperts.background.Mode
import org.edgeexperts.background.Notice
import org.edgeexperts.background.NoticeStyle
import org.edgeexperts.background.TrainingHost
import org.edgeexperts.core.Doing
import java.io.Closeable

/** The host as the system's job sees it. */
class AppTraining(private val context: Context, private val host: Host) : TrainingHost {
    override val style: NoticeStyle = NoticeStyle(
        icon = R.drawable.ic_training,
        stopIcon = R.drawable.ic_refused,
        color = context.getColor(R.color.accent),
        channelName = context.getString(R.string.channel_name),
        channelText = context.getString(R.string.channel_text),
        stopText = context.getString(R.string.training_stop),
        open = Intent(context, MainActivity::class.java).putExtra(MainActivity.TRAINING, true),
    )

    override val notice: Notice get() = noticeOf(context, host.state)

    override val atWork: Boolean get() = host.state.mode != Mode.NONE

    override fun job(begun: Boolean) = host.job(begun)

    override fun listen(changed: () -> Unit): Closeable {
        val listener: (AppState) -> Unit = { changed() }
        host.listen(listener)
        return Closeable { host.unlisten(listener) }
    }

    override fun stop() = host.stop()
}

/** Returns what to show of [state]; no text of the user's. */
fun noticeOf(context: Context, state: AppState): Notice {
    val device = state.device
    val training = device.doing == Doing.TRAINING && device.steps > 0
    val text = if (training) context.getString(R.string.training_running_text, device.step, device.steps)
    else trainingPhase(state).text.firstOrNull()?.let(context::getString).orEmpty()
    val title = if (training || state.enrolment == null) R.string.notice_training else R.string.notice_federation
    val (step, steps) = if (training) device.step to device.steps else 0 to 0
    return Notice(context.getString(title), text, step, steps)
}
